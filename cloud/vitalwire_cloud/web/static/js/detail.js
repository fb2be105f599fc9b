// One patient in full: every channel, the numbers, the trend, and the alarms with the strip at their onset.

import { ApiError, strip } from './api.js';
import { card } from './alarm_list.js';
import { byId, el, mark, text } from './dom.js';
import { Demand } from './demand.js';
import { Wearer } from './wearer.js';
import { Bedside } from './bedside.js';
import { News2Panel } from './news2.js';
import { levelOf, SIGNS, since, titleOf } from './alarms.js';
import { Numbers } from './numbers.js';
import { drawGrid, paper, zeroLine } from './paper.js';
import { Strips } from './strips.js';
import { EcgTrends } from './ecg_trends.js';
import { delayText, facts } from './tile.js';
import { clockText, fromJson, toNs } from './time.js';
import { Overview } from './overview.js';
import { drawScores } from './scores.js';
import { drawTrend } from './trend.js';

const BEFORE_MS = 4000;
const AFTER_MS = 8000;

export class Detail {
  #parts;
  #onsets = new Map();
  #shown = '';

  constructor(patient, panel, back) {
    this.patient = patient;
    this.panel = panel;
    this.strips = new Strips(patient, { most: 6, grid: 1.35, millivolt: true });
    this.numbers = new Numbers();
    this.overview = new Overview(patient);
    this.ecgTrends = new EcgTrends();
    this.demand = new Demand(patient);
    this.wearer = new Wearer(patient.name);
    this.bedside = new Bedside(patient.name);
    this.news2 = new News2Panel();
    const parts = {
      message: el('span', { class: 'detail-message' }),
      facts: el('div', { class: 'tile-facts' }),
      delay: el('span', { class: 'detail-delay' }),
      trend: el('canvas', { class: 'trend', role: 'img', 'aria-label': 'Trend of the last minutes' }),
      scores: el('canvas', { class: 'scores', role: 'img', 'aria-label': 'Scores of the beat model' }),
      scored: el('p', { class: 'scored' }),
      alarms: el('div', { class: 'detail-alarms' }),
    };
    this.#parts = parts;
    this.node = byId('detail');
    this.node.replaceChildren(
      el('header', { class: 'detail-head' },
        el('button', { type: 'button', class: 'tool', onclick: back }, '\u2190 All patients'),
        el('h2', {}, patient.name), el('span', { class: 'detail-gateway' }, `behind ${patient.gateway}`),
        parts.message, parts.delay, parts.facts),
      this.wearer.node,
      el('div', { class: 'detail-bedside' }, this.bedside.node, this.news2.node),
      this.demand.node,
      el('div', { class: 'detail-main' }, this.strips.node, this.numbers.node),
      el('section', { class: 'detail-overview' }, el('h3', {}, 'Last 60 seconds'), this.overview.node),
      el('section', { class: 'detail-scores' }, el('h3', {}, 'Beat model'), parts.scores, parts.scored),
      el('section', { class: 'detail-trend' }, el('h3', {}, 'Trend'), parts.trend),
      el('section', { class: 'detail-ecg' }, el('h3', {}, 'ECG by the minute'), this.ecgTrends.node),
      el('section', { class: 'detail-onsets' }, el('h3', {}, 'Alarms'), parts.alarms));
  }

  /** Numbers, facts and alarms as they stand at `now`. */
  tick(now, alarms, reachable) {
    this.numbers.show(this.patient.vitals, alarms.filter((alarm) => alarm.state === 'active'), now);
    this.strips.tick();
    this.demand.tick(now, this.patient.heardWave);
    this.wearer.tick();
    this.bedside.tick();
    this.news2.show(this.patient, reachable, now);
    const top = alarms[0];
    mark(this.node, 'level', levelOf(top));
    text(this.#parts.message, top ? `${SIGNS[top.priority]} ${titleOf(top)}` : '');
    text(this.#parts.delay, `${paper.speed} mm/s, ${paper.gain} mm/mV, ${delayText(this.patient)}`);
    this.#parts.facts.replaceChildren(...facts(this.patient, reachable, now));
    this.overview.draw(this.strips.head ?? now, alarms);
    drawTrend(this.#parts.trend, this.patient, now);
    this.ecgTrends.show(this.patient.vitals, now);
    text(this.#parts.scored, drawScores(this.#parts.scores, this.patient, now));
    this.#alarms(alarms);
  }

  #alarms(alarms) {
    const shown = JSON.stringify(alarms.map((alarm) => [alarm.alarm_id, alarm.state, alarm.acknowledged_until_ns, alarm.label?.verdict]));
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#parts.alarms.replaceChildren(...alarms.map((alarm) => {
      const onset = this.#onsets.get(alarm.alarm_id) ?? new Onset(this.patient, alarm);
      this.#onsets.set(alarm.alarm_id, onset);
      const node = card(alarm, this.panel.actions);
      node.append(onset.node);
      return node;
    }));
    if (alarms.length === 0) this.#parts.alarms.append(el('p', { class: 'alarm-none' }, 'No open alarms of this patient.'));
    for (const onset of this.#onsets.values()) onset.load();
  }

  close() {
    this.strips.close();
    for (const onset of this.#onsets.values()) onset.close();
    this.node.replaceChildren();
  }
}

/** The strip around the onset of an alarm, out of the store. */
class Onset {
  #patient;
  #alarm;
  #canvas = el('canvas', { class: 'trace' });
  #grid = el('canvas', { class: 'grid' });
  #said = el('span', { class: 'strip-name' });
  #segments = null;
  #due = 0;
  #observer = new ResizeObserver(() => this.#draw());

  constructor(patient, alarm) {
    this.#patient = patient;
    this.#alarm = alarm;
    this.node = el('div', { class: 'onset' }, this.#grid, this.#canvas, this.#said);
    this.#observer.observe(this.node);
  }

  /** Ask the store, later again while the strip is not whole. */
  async load() {
    const channel = this.#patient.waveChannels.find((one) => one.unit === 'uV');
    if (!channel || this.#segments?.whole || performance.now() < this.#due) return;
    this.#due = performance.now() + 2000;
    const at = since(this.#alarm);
    try {
      const answer = await strip(this.#patient.name, channel.code, toNs(at - BEFORE_MS), toNs(at + AFTER_MS));
      const last = answer.segments.at(-1);
      const end = last ? fromJson(last.start_ns) + (last.samples.length * 1000) / last.rate_hz : -Infinity;
      this.#segments = { list: answer.segments, whole: end >= at + AFTER_MS - 50 };
      this.#draw();
    } catch (error) {
      if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error;
      text(this.#said, 'strip not available');
    }
    if (!this.#segments?.whole) setTimeout(() => this.#canvas.isConnected && this.load(), 2500);
  }

  #draw() {
    if (!this.#segments || this.#canvas.clientWidth === 0) return;
    drawGrid(this.#grid, 1.2);
    drawGrid(this.#canvas, 0);
    const context = this.#canvas.getContext('2d');
    context.clearRect(0, 0, this.#canvas.clientWidth, this.#canvas.clientHeight);
    const middle = zeroLine(this.#canvas.clientHeight);
    const start = since(this.#alarm) - BEFORE_MS;
    const x = (t) => ((t - start) * paper.pxPerSecond) / 1000;
    const values = this.#segments.list.flatMap((segment) => segment.samples.filter((_, i) => i % 8 === 0)).sort((a, b) => a - b);
    const zero = Math.abs(values[values.length >> 1] ?? 0) < 150 ? 0 : values[values.length >> 1];
    context.fillStyle = 'rgba(255, 92, 92, 0.16)';
    context.fillRect(x(since(this.#alarm)), 0, 2, this.#canvas.clientHeight);
    context.strokeStyle = '#3df28b';
    context.lineWidth = 1.4;
    for (const segment of this.#segments.list) {
      context.beginPath();
      const from = fromJson(segment.start_ns);
      segment.samples.forEach((value, i) =>
        context.lineTo(x(from + (i * 1000) / segment.rate_hz), middle - (value - zero) * paper.pxPerUv));
      context.stroke();
    }
    text(this.#said, `strip at onset, ${clockText(since(this.#alarm))}`);
  }

  close() {
    this.#observer.disconnect();
  }
}
