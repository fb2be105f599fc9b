// The NEWS2 that the gateway computes: current, only the last one known, or none. What is missing has no points.

import { el, mark, text } from './dom.js';
import { clockText, fromJson, spanText } from './time.js';

const PARAMETERS = {
  respiration: 'Respiration', spo2: 'SpO\u2082', oxygen: 'Air or oxygen', systolic: 'Systolic pressure', pulse: 'Pulse',
  consciousness: 'Consciousness', temperature: 'Temperature',
};
const WORDS = { consciousness: 'consciousness', oxygen: 'oxygen', spo2_scale: 'SpO\u2082 scale' };
const BANDS = { low: 'low', low_medium: 'low-medium', medium: 'medium', high: 'high' };
const RESPONSES = {
  low: 'low', low_medium: 'low-medium: one parameter scores 3, urgent ward review', medium: 'medium: urgent response', high: 'high: emergency response',
  incomplete: 'no band: what is missing may raise it',
};

/** How the score of a patient stands at `now`: `current`, `stale` (only the last one known) or `none`. */
export function standing(patient, reachable, now) {
  const score = patient.news2;
  const away = score !== null && patient.link?.state === 'offline' && patient.link.gateway === score.gateway;
  if (score === null || away || now >= fromJson(score.gone_ns)) return { state: 'none', score: null };
  return { state: reachable && now < fromJson(score.stale_ns) ? 'current' : 'stale', score };
}

const incomplete = (score) => score.missing.length > 0;
const band = (score) => `${incomplete(score) && score.band !== 'incomplete' ? 'at least ' : ''}${RESPONSES[score.band]}`;
const age = (score, now) => spanText(now - fromJson(score.at_ns));

/** The score in a few letters for the wall, or null where there is none. */
export function figure(patient, reachable, now) {
  const { state, score } = standing(patient, reachable, now);
  if (state === 'none') return null;
  if (state === 'stale') {
    return el('span', { class: 'news2-figure', dataset: { state }, title: `No current score. Last known: ${score.text}, at ${clockText(fromJson(score.at_ns))}` },
      `NEWS2 stale ${age(score, now)}`);
  }
  const words = [incomplete(score) && 'incomplete', BANDS[score.band]].filter(Boolean).join(', ');
  return el('span', { class: 'news2-figure', dataset: { state, band: score.band }, title: `${score.text}; ${band(score)}` },
    `NEWS2 ${incomplete(score) ? '\u2265' : ''}${score.total} ${words}`);
}

export class News2Panel {
  #total = el('b', { class: 'news2-total' });
  #band = el('span', { class: 'news2-band' });
  #points = el('dl', { class: 'news2-points' });
  #old = el('ul', { class: 'news2-old' });
  #when = el('span', { class: 'news2-when' });
  #shown = '';

  constructor() {
    this.node = el('section', { class: 'news2', 'aria-label': 'NEWS2' },
      el('h3', {}, 'NEWS2 of the gateway'), el('p', { class: 'news2-head' }, this.#total, this.#band), this.#points, this.#old, this.#when);
  }

  /** The score of `patient` as it stands at `now`. */
  show(patient, reachable, now) {
    const { state, score } = standing(patient, reachable, now);
    const current = state === 'current' ? score : null;
    mark(this.node, 'state', state);
    mark(this.node, 'band', current?.band ?? 'none');
    text(this.#total, current?.text ?? 'No current score');
    text(this.#band, current ? band(current) : '');
    text(this.#when, this.#told(state, score, patient, now));
    this.#parts(current, now);
  }

  #told(state, score, patient, now) {
    if (state === 'current') return `SpO\u2082 scale ${score.scale}, computed ${age(score, now)} ago`;
    if (state === 'stale') return `Last known: ${score.text}, computed ${age(score, now)} ago, at ${clockText(fromJson(score.at_ns))}`;
    return patient.link?.state === 'offline' ? 'The wearable is away.' : 'The gateway tells none.';
  }

  #parts(score, now) {
    const points = Object.entries(score ? PARAMETERS : {}).map(([name, label]) => [label, score.points[name] ?? null]);
    const old = (score?.too_old ?? []).map((one) => `too old: ${WORDS[one.what]}, entered ${spanText(now - fromJson(one.entered_ns))} ago`);
    const shown = JSON.stringify([points, old]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#points.replaceChildren(...points.map(([label, value]) =>
      el('div', { class: 'news2-parameter', dataset: { points: value ?? 'missing' } }, el('dt', {}, label), el('dd', {}, value === null ? 'not known' : String(value)))));
    this.#old.replaceChildren(...old.map((said) => el('li', {}, said)));
  }
}
