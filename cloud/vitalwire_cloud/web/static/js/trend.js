// The fast numbers of the last minutes, each on its own fixed scale; a gap stays a gap.

import { fit } from './paper.js';
import { HR, RESP, SPO2 } from './numbers.js';

const SPANS_MS = [180000, 540000, 900000]; // each a whole number of minutes in three parts

const GAP_MS = 15000;
const LEGEND_PX = 90; // height from which on the scales are named
const LINES = [
  { code: SPO2, name: 'SpO\u2082', low: 70, high: 100, colour: '#4cd4f5' },
  { code: HR, name: 'HR', low: 30, high: 200, colour: '#3df28b' },
  { code: RESP, name: 'RR', low: 0, high: 45, colour: '#f3e36b' },
];

/** Draw the trends of `patient` up to `now` on `canvas`. */
export function drawTrend(canvas, patient, now) {
  const { width, height } = fit(canvas);
  if (width === 0 || height === 0) return;
  const context = canvas.getContext('2d');
  const oldest = Math.min(now, ...LINES.map(({ code }) => patient.trend.get(code)?.[0]?.t ?? now));
  const span = SPANS_MS.find((ms) => now - oldest <= ms) ?? SPANS_MS.at(-1);
  const x = (t) => width - ((now - t) * width) / span;
  context.font = '10px system-ui, sans-serif';
  context.fillStyle = 'rgba(150, 175, 168, 0.75)';
  context.strokeStyle = 'rgba(126, 178, 160, 0.14)';
  context.beginPath();
  const step = span / 180000; // minutes: a third of what is shown
  for (let minutes = step; minutes < 3 * step; minutes += step) {
    const at = Math.round(x(now - minutes * 60000)) + 0.5;
    context.moveTo(at, 0);
    context.lineTo(at, height);
    context.fillText(`\u2212${Math.round(minutes * 10) / 10} min`, at + 3, height - 3);
  }
  context.stroke();
  let legend = 8;
  for (const line of LINES) {
    const y = (value) => height - 3 - ((Math.min(Math.max(value, line.low), line.high) - line.low) * (height - 6)) / (line.high - line.low);
    context.beginPath();
    let before = null;
    for (const point of patient.trend.get(line.code) ?? []) {
      if (point.t < now - span) continue;
      if (before === null || point.t - before > GAP_MS) context.moveTo(x(point.t) - 1, y(point.value));
      context.lineTo(x(point.t), y(point.value));
      before = point.t;
    }
    context.strokeStyle = line.colour;
    context.lineWidth = 1.3;
    context.stroke();
    if (height < LEGEND_PX) continue;
    const said = `${line.name} ${line.low}\u2013${line.high}`;
    context.fillStyle = line.colour;
    context.fillText(said, legend, 14);
    legend += context.measureText(said).width + 16;
  }
}
