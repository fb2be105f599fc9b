// Draws one channel as a monitor does: the trace is written from left to right at paper speed, a bar runs ahead of it
// and wipes the oldest part. What arrives late is drawn where it belongs; what never arrived is shown as a gap.

import { fit, paper, zeroLine } from './paper.js';
import { blockEnd, joins, LEAD_OFF } from './waves.js';

const BAR_PX = 14;
const LINE_PX = 1.6;
const LOG_MS = 15000;
const FILL = 0.7; // of the height, for channels without a scale of their own

const LEAD_OFF_COLOUR = '#a98545';
const MARK_COLOUR = { normal: 'rgba(180, 205, 198, 0.75)', wide: '#ffb454' };

/** `buffer`: WaveBuffer; `colour` of the trace; `calibrated`: microvolts at the paper's gain, else fitted. */
export class Sweep {
  #canvas;
  #context;
  #colour;
  #calibrated;
  #width = 0;
  #height = 0;
  #head = null;
  #dirty = [];
  #pages = new Map();
  #marks = [];
  #log = [];
  #hatch;

  constructor(canvas, buffer, { colour, calibrated }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d');
    this.#colour = colour;
    this.#calibrated = calibrated;
    this.buffer = buffer;
    this.resize();
  }

  /** Milliseconds that the width shows. */
  get windowMs() {
    return (this.#width * 1000) / paper.pxPerSecond;
  }

  get head() {
    return this.#head;
  }

  /** Take the canvas' new size, or a new paper; everything is drawn again. */
  resize() {
    ({ width: this.#width, height: this.#height } = fit(this.#canvas));
    this.#hatch = this.#context.createPattern(hatch(), 'repeat');
    this.#pages.clear();
    this.#log = [];
    if (this.#head !== null && this.#width > 0) this.#redraw(this.#head);
  }

  /** Pieces that were added to the buffer: those behind the head are drawn where they belong. */
  added(pieces) {
    for (const piece of pieces) this.#stale(piece.t0, blockEnd(piece));
  }

  /** Beats (`{t, wide}` in page milliseconds). */
  beats(beats) {
    for (const beat of beats) {
      this.#marks.push(beat);
      this.#stale(beat.t - 60, beat.t + 60);
    }
    this.#marks.sort((a, b) => a.t - b.t);
    while (this.#marks.length > 400) this.#marks.shift();
  }

  /** Write on until `head` (page milliseconds). */
  draw(head) {
    if (this.#width === 0) return;
    const before = this.#head;
    if (before === null || head - before > this.windowMs / 2 || head < before) {
      this.#dirty = [];
      this.#redraw(head);
      return;
    }
    this.#head = head;
    for (const [from, to] of this.#dirty.splice(0)) this.#mend(from, to);
    this.#wipe(before, head);
    this.#write(before, head);
    while (this.#log.length > 0 && blockEnd(this.#log[0].block) < head - LOG_MS) this.#log.shift();
  }

  /** What was drawn of the last `ms`: runs of samples in the channel's unit with the exact time of the first. */
  drawn(ms) {
    const runs = new Map();
    for (const { block, first, last } of this.#log) {
      if (blockEnd(block) < this.#head - ms) continue;
      const run = runs.get(block) ?? { block, first, last };
      run.first = Math.min(run.first, first);
      run.last = Math.max(run.last, last);
      runs.set(block, run);
    }
    return [...runs.values()]
      .sort((a, b) => a.block.t0 - b.block.t0)
      .map(({ block, first, last }) => ({
        start_ns: String(block.startNs + BigInt(Math.round((first * 1e9) / block.rate))),
        rate_hz: block.rate,
        flags: block.flags,
        samples: Array.from(block.values.subarray(first, last + 1), (value) => value * block.scale),
      }));
  }

  /** Where a value at a time stands on the canvas, in CSS pixels; null when the trace does not show that time now. */
  place(t, value) {
    if (this.#head === null || t > this.#head || t < this.#head - this.windowMs) return null;
    const page = Math.floor(t / this.windowMs);
    return { x: this.#x(t, page), y: this.#y(value, page) };
  }

  #stale(from, to) {
    if (this.#head === null || from >= this.#head) return;
    const oldest = this.#head - this.windowMs + (BAR_PX * 1000) / paper.pxPerSecond;
    if (to <= oldest) return;
    this.#dirty.push([Math.max(from, oldest), Math.min(to, this.#head)]);
  }

  #redraw(head) {
    this.#context.clearRect(0, 0, this.#width, this.#height);
    this.#log = [];
    this.#head = head;
    this.#write(head - this.windowMs + (BAR_PX * 1000) / paper.pxPerSecond, head);
  }

  #x(t, page) {
    return ((t - page * this.windowMs) * paper.pxPerSecond) / 1000;
  }

  #y(value, page) {
    const { zero, pxPerUnit, line } = this.#level(page);
    return line - (value - zero) * pxPerUnit;
  }

  /** Zero line and scale of a page: settled when the page begins, so that a sweep is one piece. */
  #level(page) {
    const known = this.#pages.get(page);
    if (known) return known;
    const start = page * this.windowMs;
    const level = this.#calibrated ? this.#baseline(start) : this.#range(start);
    this.#pages.set(page, level);
    for (const old of this.#pages.keys()) if (old < page - 2) this.#pages.delete(old);
    return level;
  }

  #baseline(start) {
    const middle = this.buffer.median(start - 3000, start + 2000);
    return { zero: Math.abs(middle) < 100 ? 0 : middle, pxPerUnit: paper.pxPerUv, line: zeroLine(this.#height) };
  }

  #range(start) {
    let low = Infinity;
    let high = -Infinity;
    for (const block of this.buffer.touching(start - 5000, start + 1500)) {
      for (const value of block.values) {
        low = Math.min(low, value * block.scale);
        high = Math.max(high, value * block.scale);
      }
    }
    const line = this.#height / 2;
    if (high <= low) return { zero: 0, pxPerUnit: 1, line };
    return { zero: (low + high) / 2, pxPerUnit: (this.#height * FILL) / (high - low), line };
  }

  /** Wipe ahead of the head, around the right edge where needed. */
  #wipe(from, to) {
    const context = this.#context;
    const page = Math.floor(from / this.windowMs);
    const left = this.#x(from, page) + LINE_PX;
    const right = this.#x(to, page) + BAR_PX;
    context.clearRect(left, 0, right - left, this.#height);
    if (right > this.#width) context.clearRect(0, 0, right - this.#width, this.#height);
  }

  /** Draw again what lies between two times, and nothing beside it. */
  #mend(from, to) {
    const window = this.windowMs;
    for (let page = Math.floor(from / window); page <= Math.floor(to / window); page += 1) {
      const start = Math.max(from, page * window);
      const end = Math.min(to, (page + 1) * window);
      const left = Math.floor(this.#x(start, page)) - 2;
      const right = Math.ceil(this.#x(end, page)) + (end < this.#head ? 2 : 0);
      this.#context.save();
      this.#context.beginPath();
      this.#context.rect(left, 0, right - left, this.#height);
      this.#context.clip();
      this.#context.clearRect(left, 0, right - left, this.#height);
      this.#part(start - 100, Math.min(end + 100, this.#head), page);
      this.#context.restore();
    }
  }

  #write(from, to) {
    const window = this.windowMs;
    for (let page = Math.floor(from / window); page <= Math.floor(to / window); page += 1) {
      this.#part(Math.max(from, page * window), Math.min(to, (page + 1) * window), page);
    }
  }

  /** Gaps, trace and marks of [from, to], placed on one page. */
  #part(from, to, page) {
    const context = this.#context;
    for (const [start, end] of this.buffer.gaps(from, to)) {
      const left = this.#x(start, page);
      context.fillStyle = this.#hatch;
      context.fillRect(left, 0, this.#x(end, page) - left, this.#height);
    }
    let before = null;
    for (const block of this.buffer.touching(from - 50, to)) {
      this.#trace(block, before, from, to, page);
      before = block;
    }
    if (!paper.beats) return;
    for (const beat of this.#marks) if (beat.t >= from - 60 && beat.t <= to) this.#beat(beat, page);
  }

  #trace(block, before, from, to, page) {
    const dt = 1000 / block.rate;
    const first = Math.max(0, Math.floor((from - block.t0) / dt));
    const last = Math.min(block.values.length - 1, Math.floor((to - block.t0) / dt));
    if (last < first) return;
    const context = this.#context;
    const off = (block.flags & LEAD_OFF) !== 0;
    // Without electrodes the input drifts to its rail: keep the line in sight.
    const y = (value) => (off ? Math.min(Math.max(this.#y(value, page), 4), this.#height - 4) : this.#y(value, page));
    context.beginPath();
    if (first === 0 && before && joins(before, block)) {
      const value = before.values.at(-1) * before.scale;
      context.moveTo(this.#x(block.t0 - dt, page), y(value));
    }
    for (let i = first; i <= last; i += 1) {
      context.lineTo(this.#x(block.t0 + i * dt, page), y(block.values[i] * block.scale));
    }
    context.strokeStyle = off ? LEAD_OFF_COLOUR : this.#colour;
    context.lineWidth = LINE_PX;
    context.lineJoin = 'round';
    context.setLineDash(off ? [2, 4] : []);
    context.stroke();
    this.#log.push({ block, first, last });
  }

  #beat({ t, wide }, page) {
    const x = this.#x(t, page);
    this.#context.fillStyle = wide ? MARK_COLOUR.wide : MARK_COLOUR.normal;
    this.#context.beginPath();
    this.#context.moveTo(x - 3.5, 2);
    this.#context.lineTo(x + 3.5, 2);
    this.#context.lineTo(x, 8);
    this.#context.fill();
  }
}

let tile = null;

function hatch() {
  if (tile) return tile;
  tile = document.createElement('canvas');
  tile.width = 10;
  tile.height = 10;
  const context = tile.getContext('2d');
  context.strokeStyle = 'rgba(150, 160, 175, 0.30)';
  context.lineWidth = 1.5;
  context.beginPath();
  for (const shift of [-10, 0, 10]) {
    context.moveTo(shift, 10);
    context.lineTo(shift + 10, 0);
  }
  context.stroke();
  return tile;
}
