// One patient on the wall.

import { el, mark, text } from './dom.js';
import { levelOf, SIGNS, titleOf } from './alarms.js';
import { figure } from './news2.js';
import { Numbers } from './numbers.js';
import { Strips } from './strips.js';
import { drawTrend } from './trend.js';
import { spanText } from './time.js';

export const BACKLOG_ROWS = 200; // fewer are on their way at any moment

export class Tile {
  #parts;
  #trend = el('canvas', { class: 'trend', role: 'img', 'aria-label': 'Trend of the last minutes' });

  constructor(patient, open) {
    this.patient = patient;
    this.strips = new Strips(patient, { most: 2 });
    this.numbers = new Numbers();
    this.#parts = {
      name: el('button', { type: 'button', class: 'tile-name', onclick: () => open(patient.name) }, patient.name),
      facts: el('div', { class: 'tile-facts' }),
      message: el('div', { class: 'tile-message' }),
      news2: el('div', { class: 'tile-news2' }),
    };
    this.numbers.node.append(this.#parts.news2);
    this.node = el('article', { class: 'tile', 'aria-label': patient.name, dataset: { device: patient.name, level: 'none' } },
      el('header', { class: 'tile-head' }, this.#parts.name, this.#parts.message, this.#parts.facts),
      el('div', { class: 'tile-waves' }, this.strips.node, this.#trend), this.numbers.node);
    this.strips.node.addEventListener('click', () => open(patient.name));
  }

  /** Numbers, facts and alarms as they stand at `now`. */
  tick(now, alarms, reachable) {
    this.numbers.show(this.patient.vitals, alarms.filter((alarm) => alarm.state === 'active'), now);
    this.strips.tick();
    this.#parts.facts.replaceChildren(...facts(this.patient, reachable, now));
    this.#parts.news2.replaceChildren(...[figure(this.patient, reachable, now)].filter(Boolean));
    const top = alarms[0];
    mark(this.node, 'level', levelOf(top));
    const more = alarms.length > 1 ? `  +${alarms.length - 1}` : '';
    const taken = top?.state === 'acknowledged' ? '\u2713 ' : top?.state === 'latched' ? 'latched: ' : '';
    text(this.#parts.message, top ? `${SIGNS[top.priority]} ${taken}${titleOf(top)}${more}` : '');
    if (this.#trend.clientHeight > 20) drawTrend(this.#trend, this.patient, now);
  }

  close() {
    this.strips.close();
    this.node.remove();
  }
}

const STATES = { online: 'online', offline: 'offline', unknown: 'not heard of yet', cut: 'out of reach, its gateway is offline' };

/** Small facts about a device: link (`reachable`: its gateway is there), battery, signal quality, what it is. */
export function facts(patient, reachable, now) {
  const found = [];
  const link = patient.link;
  if (patient.simulated) found.push(el('span', { class: 'fact', dataset: { kind: 'sim' }, title: 'A simulated wearable' }, 'SIM'));
  if (patient.paced === 'yes') found.push(el('span', { class: 'fact', title: 'The patient has a pacemaker' }, 'PACED'));
  const ahead = patient.aheadMs(now);
  if (ahead > 0) found.push(el('span', { class: 'fact', dataset: { kind: 'bad' }, title: 'Data from the future is not shown: set the clock of the gateway' }, `clock ${spanText(ahead)} ahead`));
  else if (patient.unsynchronised) found.push(el('span', { class: 'fact', dataset: { kind: 'late' }, title: 'The gateway has no synchronised clock: times are its best guess' }, 'clock unsure'));
  if (link?.quality !== null && link?.quality !== undefined) {
    const percent = Math.round(link.quality * 100);
    found.push(el('span', { class: 'fact quality', dataset: { kind: percent < 50 ? 'bad' : 'ok' }, title: `Signal quality ${percent} %` },
      ...[25, 50, 75].map((step) => el('i', { class: percent >= step ? 'lit' : '' })), el('span', { class: 'unseen' }, `quality ${percent} %`)));
  }
  if (link?.battery_percent !== null && link?.battery_percent !== undefined) {
    const percent = link.battery_percent;
    found.push(el('span', { class: 'fact', dataset: { kind: percent <= 15 ? 'bad' : 'ok' }, title: 'Battery of the wearable' }, `\u26a1\ufe0e${percent}%`));
  }
  if (link?.backlog_rows > BACKLOG_ROWS) found.push(el('span', { class: 'fact', dataset: { kind: 'late' }, title: 'Messages still waiting on the gateway' }, `backlog ${link.backlog_rows}`));
  const state = !reachable ? 'cut' : link?.state ?? 'unknown';
  found.push(el('span', { class: 'fact link-state', dataset: { kind: state }, title: `${patient.name} is ${STATES[state]}, behind ${patient.gateway}` },
    state === 'cut' ? '\u25cb gateway offline' : state === 'online' ? '\u25cf online' : state === 'offline' ? '\u25cb offline' : '? link'));
  return found;
}

/** How far behind the display of a patient runs. */
export const delayText = (patient) => (patient.delayMs > 0 ? `${(patient.delayMs / 1000).toFixed(1)} s behind` : spanText(0));
