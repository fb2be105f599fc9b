// Paper: how many pixels a millimetre has, how fast it runs, how tall a millivolt is, and the grid on it.

const KEY = 'vitalwire.display';
const CSS_MM = 96 / 25.4;
const DEFAULTS = { speed: 25, gain: 10, pxPerMm: CSS_MM, grid: true, beats: true };

class Paper extends EventTarget {
  #values = { ...DEFAULTS, ...read() };

  get speed() { return this.#values.speed; }
  get gain() { return this.#values.gain; }
  get pxPerMm() { return this.#values.pxPerMm; }
  get grid() { return this.#values.grid; }
  get beats() { return this.#values.beats; }

  /** Pixels that a second takes. */
  get pxPerSecond() { return this.speed * this.pxPerMm; }

  /** Pixels that a microvolt takes. */
  get pxPerUv() { return (this.gain * this.pxPerMm) / 1000; }

  set(changes) {
    this.#values = { ...this.#values, ...changes };
    localStorage.setItem(KEY, JSON.stringify(this.#values));
    this.dispatchEvent(new Event('change'));
  }

  resetScale() { this.set({ pxPerMm: CSS_MM }); }
}

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return Object.fromEntries(Object.entries(kept).filter(([name, value]) => typeof value === typeof DEFAULTS[name]));
  } catch {
    return {}; // settings of another version: start from the defaults
  }
}

export const paper = new Paper();

/** Fit the bitmap of `canvas` to its box; returns its size in CSS pixels. */
export function fit(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.getContext('2d').setTransform(ratio, 0, 0, ratio, 0, 0);
  return { width, height };
}

/** Where zero lies in a strip: below the middle, since most of a QRS points up. */
export const zeroLine = (height) => Math.round(height * 0.58);

/** Calibration mark of 1 mV, 5 mm wide, at the lower left. */
export function drawMillivolt(canvas) {
  const context = canvas.getContext('2d');
  const mm = paper.pxPerMm;
  const foot = canvas.clientHeight - 22;
  if (foot < paper.gain * mm + 20) return;
  context.beginPath();
  for (const [x, y] of [[1, 0], [2, 0], [2, paper.gain], [7, paper.gain], [7, 0], [8, 0]]) context.lineTo(x * mm, foot - y * mm);
  context.strokeStyle = 'rgba(220, 235, 230, 0.55)';
  context.lineWidth = 1.4;
  context.stroke();
}

/** Grid of 1 mm and 5 mm squares, so that one of the heavy lines is the zero line of the trace. */
export function drawGrid(canvas, strength = 1) {
  const { width, height } = fit(canvas);
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  if (!paper.grid) return;
  const mm = paper.pxPerMm;
  const zero = zeroLine(height);
  for (const [every, colour] of [[1, `rgba(126, 178, 160, ${0.07 * strength})`], [5, `rgba(126, 178, 160, ${0.2 * strength})`]]) {
    if (every * mm < 3) continue;
    context.beginPath();
    for (let i = 0; i * mm <= width; i += every) {
      const x = Math.round(i * mm) + 0.5;
      context.moveTo(x, 0);
      context.lineTo(x, height);
    }
    for (let i = 0; i * mm <= Math.max(zero, height - zero); i += every) {
      for (const y of i === 0 ? [zero] : [zero - i * mm, zero + i * mm]) {
        context.moveTo(0, Math.round(y) + 0.5);
        context.lineTo(width, Math.round(y) + 0.5);
      }
    }
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.stroke();
  }
}
