// What the beat model said of each beat of the last minutes: its score against the threshold that it had to exceed.

import { fit } from './paper.js';

const SPAN_MS = 180000;
const LOWEST = -2;
const LEAST_TOP = 8;
const GAP_MS = 6000;

/** Draw the scores of `patient` up to `now` on `canvas`; says in words what is shown. */
export function drawScores(canvas, patient, now) {
  const { width, height } = fit(canvas);
  const seen = patient.scores.filter((score) => score.t >= now - SPAN_MS);
  canvas.dataset.shown = String(seen.filter((score) => score.score !== null).length);
  if (width === 0 || height === 0) return summary(seen);
  const context = canvas.getContext('2d');
  const top = Math.max(LEAST_TOP, ...seen.map((score) => score.threshold * 1.25));
  const x = (t) => width - ((now - t) * width) / SPAN_MS;
  const y = (value) => height - 4 - ((Math.min(Math.max(value, LOWEST), top) - LOWEST) * (height - 10)) / (top - LOWEST);
  context.font = '10px system-ui, sans-serif';
  context.strokeStyle = 'rgba(126, 178, 160, 0.14)';
  context.fillStyle = 'rgba(150, 175, 168, 0.75)';
  context.beginPath();
  for (const minutes of [1, 2]) {
    const at = Math.round(x(now - minutes * 60000)) + 0.5;
    context.moveTo(at, 0);
    context.lineTo(at, height);
    context.fillText(`\u2212${minutes} min`, at + 3, height - 3);
  }
  context.stroke();
  let before = null;
  context.beginPath();
  for (const score of seen) {
    if (before === null || score.t - before > GAP_MS) context.moveTo(x(score.t), y(score.threshold));
    context.lineTo(x(score.t), y(score.threshold));
    before = score.t;
  }
  context.setLineDash([5, 4]);
  context.strokeStyle = '#ffb347';
  context.lineWidth = 1.2;
  context.stroke();
  context.setLineDash([]);
  for (const score of seen) {
    if (score.score === null) {
      context.fillStyle = 'rgba(150, 160, 175, 0.55)';
      context.fillRect(x(score.t) - 1, height - 5, 2, 5);
      continue;
    }
    const over = score.score > score.threshold;
    context.fillStyle = over ? '#ff8f4d' : '#6fd7a3';
    const radius = over ? 3 : 1.6;
    context.beginPath();
    context.arc(x(score.t), y(score.score), radius, 0, 2 * Math.PI);
    context.fill();
  }
  return summary(seen);
}

function summary(seen) {
  if (seen.length === 0) return 'No beat was scored in the last minutes: no model at work, or no signal.';
  const newest = seen.at(-1);
  const silent = seen.filter((score) => score.score === null).length;
  const over = seen.filter((score) => score.score !== null && score.score > score.threshold).length;
  return `model version ${newest.version}: ${over} of ${seen.length - silent} beats over the threshold of ${newest.threshold.toFixed(1)}`
    + (silent > 0 ? `, ${silent} not scored` : '');
}
