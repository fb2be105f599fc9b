// Samples of one channel as they arrived: blocks in order of time, nothing invented between them.

export const UNSYNCHRONISED = 1;
export const LEAD_OFF = 4;
export const HISTORY = 2;

const KEEP_MS = 120000;
const JITTER_MS = 40; // neighbouring blocks may disagree by this much and still join (1 mm of paper): clocks are estimates

/** Blocks of one channel: `{t0, startNs, rate, scale, values, flags}`, `t0` in page milliseconds. */
export class WaveBuffer {
  blocks = [];

  /** Newest time there is a sample for. */
  get end() {
    const last = this.blocks.at(-1);
    return last ? blockEnd(last) : -Infinity;
  }

  /** Add a block, less what is already there. Returns the added pieces. */
  insert(block) {
    let pieces = [block];
    for (const known of this.blocks) {
      if (blockEnd(known) <= block.t0 || known.t0 >= blockEnd(block)) continue;
      pieces = pieces.flatMap((piece) => without(piece, known));
    }
    for (const piece of pieces) {
      let at = this.blocks.length;
      while (at > 0 && this.blocks[at - 1].t0 > piece.t0) at -= 1;
      this.blocks.splice(at, 0, piece);
    }
    const oldest = this.end - KEEP_MS;
    while (this.blocks.length > 0 && blockEnd(this.blocks[0]) < oldest) this.blocks.shift();
    return pieces;
  }

  /** Blocks that touch [from, to), in order. */
  touching(from, to) {
    let first = this.blocks.length;
    while (first > 0 && blockEnd(this.blocks[first - 1]) > from) first -= 1;
    const found = [];
    for (let i = first; i < this.blocks.length && this.blocks[i].t0 < to; i += 1) found.push(this.blocks[i]);
    return found;
  }

  /** Stretches of [from, to) without samples, longer than what clocks may disagree by. */
  gaps(from, to) {
    const gaps = [];
    let end = -Infinity;
    for (const block of this.touching(from - 5000, to)) {
      if (block.t0 > from && end < to && block.t0 - end > JITTER_MS) gaps.push([Math.max(end, from), Math.min(block.t0, to)]);
      end = Math.max(end, blockEnd(block));
    }
    if (to - end > JITTER_MS) gaps.push([Math.max(end, from), to]);
    return gaps;
  }

  /** Middle value of the samples of [from, to), or 0 where there are none. */
  median(from, to) {
    const values = [];
    for (const block of this.touching(from, to)) {
      if (block.flags & LEAD_OFF) continue;
      for (let i = 0; i < block.values.length; i += 4) values.push(block.values[i] * block.scale);
    }
    values.sort((a, b) => a - b);
    return values.length > 0 ? values[values.length >> 1] : 0;
  }
}

export const blockEnd = (block) => block.t0 + (block.values.length * 1000) / block.rate;

/** True when `next` follows `before` without a gap. */
export const joins = (before, next) => Math.abs(next.t0 - blockEnd(before)) <= JITTER_MS;

function without(piece, known) {
  const dt = 1000 / piece.rate;
  const slack = JITTER_MS / dt;
  const n = piece.values.length;
  const head = Math.round((known.t0 - piece.t0) / dt); // samples before the known block
  const tail = Math.round((blockEnd(known) - piece.t0) / dt); // first sample after it
  if (tail <= slack || head >= n - slack) return [piece];
  const rest = [];
  if (head > slack) rest.push(cut(piece, 0, head));
  if (n - tail > slack) rest.push(cut(piece, tail, n));
  return rest;
}

function cut(block, from, to) {
  return {
    ...block,
    startNs: block.startNs + BigInt(Math.round((from * 1e9) / block.rate)),
    t0: block.t0 + (from * 1000) / block.rate,
    values: block.values.subarray(from, to),
  };
}
