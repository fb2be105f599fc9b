// Why the beat model spoke: the beat it saw with the beat it expected drawn over it, and what staff says of the alert.

import { ApiError, label } from './api.js';
import { where } from './alarms.js';
import { byId, el, text } from './dom.js';
import { fit } from './paper.js';
import { clockText, fromJson } from './time.js';

const NAME_KEY = 'vitalwire.by';
const SEEN = '#3df28b';
const EXPECTED = '#ffb347';
const PARTS = [
  ['shape', 'Shape', 'how far its form is from this patient\u2019s usual beat'],
  ['timing', 'Timing', 'how unusual the moment is at which it came'],
  ['amplitude', 'Amplitude', 'how far its height is from this patient\u2019s own'],
];
const MARGIN = { left: 46, right: 10, top: 12, bottom: 26 };
const FULL = 12; // robust spreads that fill a bar

/** Largest of the three parts: what drove the alert. */
export const driver = (evidence) => PARTS.reduce((most, part) => (evidence[part[0]] > evidence[most[0]] ? part : most))[0];

export class EvidenceDialog {
  #book;
  #alarm = null;
  #dialog = byId('evidence');
  #canvas = byId('evidence-beat');

  constructor(book) {
    this.#book = book;
    book.addEventListener('change', () => this.#again());
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
    byId('evidence-close').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('close', () => { this.#alarm = null; });
    for (const verdict of ['confirmed', 'rejected']) byId(`evidence-${verdict}`).addEventListener('click', () => this.#say(verdict));
  }

  /** Show the beat of `alarm`. */
  open(alarm) {
    this.#alarm = alarm;
    byId('evidence-by').value = localStorage.getItem(NAME_KEY) ?? '';
    text(byId('evidence-error'), '');
    this.#fill();
    this.#dialog.showModal();
    this.#draw();
  }

  #again() {
    const now = this.#alarm && this.#book.get(this.#alarm.alarm_id);
    if (!now || now === this.#alarm) return;
    this.#alarm = now;
    this.#fill();
  }

  #fill() {
    const { evidence } = this.#alarm;
    const said = this.#alarm.text.replace(/^Unusual beat: /, '');
    text(byId('evidence-what'), said.charAt(0).toUpperCase() + said.slice(1));
    text(byId('evidence-where'), `${where(this.#alarm)}, beat at ${clockText(fromJson(evidence.r_ns))}, score ${evidence.score.toFixed(1)} `
      + `over a threshold of ${evidence.threshold.toFixed(1)}, model version ${evidence.version}`);
    const drove = driver(evidence);
    byId('evidence-parts').replaceChildren(...PARTS.map(([name, title, meaning]) => {
      const share = Math.min(1, Math.max(0.02, evidence[name] / FULL));
      return el('div', { class: 'part', dataset: { part: name, drove: String(name === drove) }, title: meaning },
        el('span', { class: 'part-name' }, name === drove ? `${title} \u2190 drove it` : title),
        el('meter', { class: 'part-bar', min: 0, max: 1, value: share.toFixed(3), 'aria-label': `${title}: ${evidence[name].toFixed(1)}` }),
        el('span', { class: 'part-value' }, evidence[name].toFixed(1)));
    }));
    text(byId('evidence-said'), saidOf(this.#alarm));
  }

  #draw() {
    if (!this.#alarm || this.#canvas.clientWidth === 0) return;
    const { evidence } = this.#alarm;
    const { width, height } = fit(this.#canvas);
    const context = this.#canvas.getContext('2d');
    const both = [...evidence.observed_uv, ...evidence.expected_uv];
    const [low, high] = [Math.min(-200, ...both), Math.max(200, ...both)];
    const ms = (i) => ((i - evidence.r_index) * 1000) / evidence.rate_hz;
    const [first, last] = [ms(0), ms(evidence.observed_uv.length - 1)];
    const x = (t) => MARGIN.left + ((t - first) * (width - MARGIN.left - MARGIN.right)) / (last - first);
    const y = (uv) => MARGIN.top + ((high - uv) * (height - MARGIN.top - MARGIN.bottom)) / (high - low);
    context.clearRect(0, 0, width, height);
    axes(context, { x, y, first, last, low, high, width, height });
    for (const [values, colour, dash, thick] of [[evidence.expected_uv, EXPECTED, [7, 4], 2.2], [evidence.observed_uv, SEEN, [], 2]]) {
      context.beginPath();
      values.forEach((uv, i) => context.lineTo(x(ms(i)), y(uv)));
      context.setLineDash(dash);
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.stroke();
    }
    context.setLineDash([]);
    this.#canvas.dataset.drawn = `${evidence.observed_uv.length} seen, ${evidence.expected_uv.length} expected`;
  }

  async #say(verdict) {
    const by = byId('evidence-by').value.trim();
    if (by === '') {
      text(byId('evidence-error'), 'Say who you are.');
      byId('evidence-by').focus();
      return;
    }
    try {
      const alarm = await label(this.#alarm.alarm_id, verdict, by);
      localStorage.setItem(NAME_KEY, by);
      text(byId('evidence-error'), '');
      this.#alarm = alarm;
      this.#fill();
      this.#book.note(alarm);
    } catch (error) {
      text(byId('evidence-error'), error instanceof ApiError ? error.message : 'No connection: nothing was kept.');
    }
  }
}

/** Who said what of a model alert, in words; empty where nobody did. */
export const saidOf = (alarm) => (alarm.label
  ? `${alarm.label.verdict === 'confirmed' ? '\u2713 Confirmed' : '\u2717 Rejected'} by ${alarm.label.by}, ${clockText(fromJson(alarm.label.at_ns))}` : '');

function axes(context, { x, y, first, last, low, high, width, height }) {
  context.font = '11px system-ui, sans-serif';
  context.lineWidth = 1;
  const stepUv = high - low > 3000 ? 1000 : high - low > 1200 ? 500 : 200;
  context.textAlign = 'right';
  for (let uv = Math.ceil(low / stepUv) * stepUv; uv <= high; uv += stepUv) {
    line(context, MARGIN.left, y(uv), width - MARGIN.right, y(uv), uv === 0);
    context.fillText(`${(uv / 1000).toFixed(1)} mV`, MARGIN.left - 6, y(uv) + 4);
  }
  context.textAlign = 'center';
  const stepMs = width < 480 ? 200 : 100;
  for (let t = Math.ceil(first / stepMs) * stepMs; t <= last; t += stepMs) {
    line(context, x(t), MARGIN.top, x(t), height - MARGIN.bottom, t === 0);
    context.fillText(t === 0 ? 'R peak' : `${t > 0 ? '+' : '\u2212'}${Math.abs(t)} ms`, x(t), height - 8);
  }
}

function line(context, x0, y0, x1, y1, strong) {
  context.beginPath();
  context.moveTo(x0, Math.round(y0) + 0.5);
  context.lineTo(x1, Math.round(y1) + 0.5);
  if (x0 === x1) {
    context.beginPath();
    context.moveTo(Math.round(x0) + 0.5, y0);
    context.lineTo(Math.round(x0) + 0.5, y1);
  }
  context.strokeStyle = `rgba(126, 178, 160, ${strong ? 0.45 : 0.16})`;
  context.stroke();
  context.fillStyle = 'rgba(190, 210, 205, 0.9)';
}
