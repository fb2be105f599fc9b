// Times. The service counts nanoseconds UTC in 64 bits, more than a number holds: they stay BigInt where they must be
// exact, and become milliseconds since this page was opened for drawing.

const EPOCH_MS = Date.now();
const EPOCH_NS = BigInt(EPOCH_MS) * 1_000_000n;

/** Page milliseconds of an exact time (BigInt nanoseconds). */
export const fromNs = (ns) => Number(ns - EPOCH_NS) / 1e6;

/** Page milliseconds of a time out of JSON (a number, good to a microsecond). */
export const fromJson = (ns) => ns / 1e6 - EPOCH_MS;

/** Nanoseconds UTC (BigInt) of page milliseconds. */
export const toNs = (ms) => EPOCH_NS + BigInt(Math.round(ms * 1e6));

const two = (n) => String(n).padStart(2, '0');

/** Time of day, in the time zone of the reader. */
export function clockText(ms) {
  const date = new Date(ms + EPOCH_MS);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** How long, in the largest unit that says enough. */
export function spanText(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** The server's clock as this page knows it: the message that travelled fastest in the last half minute decides. */
export class ServerClock {
  #samples = [];
  #offset = null;

  /** Note that the server's clock said `ms` (page milliseconds) just now. */
  note(ms) {
    const at = performance.now();
    this.#samples.push({ at, offset: ms - at });
    while (this.#samples.length > 1 && at - this.#samples[0].at > 30000) this.#samples.shift();
    this.#offset = this.#samples.reduce((best, sample) => Math.max(best, sample.offset), -Infinity);
  }

  /** Forget what was known: another connection may mean another server. */
  reset() {
    this.#samples = [];
  }

  /** Page milliseconds now by the server's clock. */
  now() {
    return performance.now() + (this.#offset ?? Date.now() - EPOCH_MS - performance.now());
  }
}
