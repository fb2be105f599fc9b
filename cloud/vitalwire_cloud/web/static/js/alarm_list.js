// The alarm list, the banner over the wall, the counts, and taking an alarm.

import { acknowledge, ApiError } from './api.js';
import { levelOf, SIGNS, since, titleOf, where } from './alarms.js';
import { byId, el, mark, text } from './dom.js';
import { EvidenceDialog, saidOf } from './evidence.js';
import { clockText, fromJson, spanText } from './time.js';

const NAME_KEY = 'vitalwire.by';
const SHOW_CLEARED = 12;

/** One alarm as a card; `open(device)` goes to its patient, `take(alarm)` asks who acknowledges, `why(alarm)` shows its beat. */
export function card(alarm, { open, take, why }) {
  const level = alarm.state === 'cleared' ? 'over' : levelOf(alarm);
  const node = el('article', { class: 'alarm', dataset: { level, state: alarm.state, id: alarm.alarm_id, kind: alarm.kind } });
  node.append(
    el('div', { class: 'alarm-head' },
      el('span', { class: 'alarm-sign', title: `${alarm.priority} priority` }, SIGNS[alarm.priority]),
      el('strong', { class: 'alarm-text' }, titleOf(alarm)),
      el('span', { class: 'alarm-category', title: alarm.category }, alarm.category === 'technical' ? 'TECH' : 'PHYS')),
    el('div', { class: 'alarm-facts' },
      alarm.device
        ? el('button', { type: 'button', class: 'link', onclick: () => open(alarm.device) }, alarm.device)
        : el('span', {}, where(alarm)),
      el('span', {}, `${alarm.priority} priority`),
      el('span', { class: 'alarm-since', dataset: { since: since(alarm) } }, clockText(since(alarm)))),
  );
  if (alarm.text !== titleOf(alarm)) node.append(el('div', { class: 'alarm-said' }, alarm.text));
  for (const note of alarm.notes ?? []) node.append(el('div', { class: 'alarm-note' }, note));
  if (alarm.label) node.append(el('div', { class: 'alarm-label' }, saidOf(alarm)));
  node.append(el('div', { class: 'alarm-foot' }, el('span', { class: 'alarm-state' }, stateText(alarm)),
    alarm.evidence ? el('button', { type: 'button', class: 'why', onclick: () => why(alarm) }, 'Show beat') : null,
    alarm.state === 'active' || alarm.state === 'latched'
      ? el('button', { type: 'button', class: 'take', onclick: () => take(alarm) }, 'Acknowledge') : null));
  return node;
}

function stateText(alarm) {
  switch (alarm.state) {
    case 'active': return alarm.escalated_ns ? 'active: escalated' : 'active';
    case 'latched': return alarm.cleared_ns === null ? 'latched' : `latched: over since ${clockText(fromJson(alarm.cleared_ns))}`;
    case 'acknowledged': return `\u2713 ${alarm.acknowledged_by} until ${alarm.acknowledged_until_ns === null ? 'it ends' : clockText(fromJson(alarm.acknowledged_until_ns))}`;
    default: return alarm.acknowledged_by ? `over, seen by ${alarm.acknowledged_by}` : 'over';
  }
}

export class AlarmPanel {
  #book;
  #clock;
  #actions;

  constructor(book, clock, open) {
    this.#book = book;
    this.#clock = clock;
    const evidence = new EvidenceDialog(book);
    this.#actions = { open, take: (alarm) => this.take(alarm), why: (alarm) => evidence.open(alarm) };
    book.addEventListener('change', () => this.render());
    book.addEventListener('raised', ({ detail }) => announce(detail));
    byId('alarms-open').addEventListener('click', () => this.#drawer(true));
    byId('alarms-close').addEventListener('click', () => this.#drawer(false));
    byId('acknowledge-cancel').addEventListener('click', () => byId('acknowledge').close());
    byId('acknowledge-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.render();
  }

  get actions() {
    return this.#actions;
  }

  render() {
    const open = this.#book.open();
    const list = byId('alarm-list');
    const focused = document.activeElement?.closest?.('#alarm-list .alarm')?.dataset.id;
    const groups = [
      ['Physiological', open.filter((alarm) => alarm.category === 'physiological')],
      ['Technical', open.filter((alarm) => alarm.category === 'technical')],
      ['Over', this.#book.cleared().slice(0, SHOW_CLEARED)],
    ];
    list.replaceChildren(...groups.filter(([, alarms]) => alarms.length > 0).map(([title, alarms]) =>
      el('section', { class: 'alarm-group' }, el('h3', {}, title), ...alarms.map((alarm) => card(alarm, this.#actions)))));
    if (open.length === 0) list.prepend(el('p', { class: 'alarm-none' }, 'No open alarms.'));
    if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"] :is(.take, .why)`)?.focus();
    this.#counts(open);
    this.#banner(open);
    document.title = `${open.length > 0 ? `(${open.length}${SIGNS[open[0].priority]}) ` : ''}vitalwire`;
  }

  /** Ages run on without a new state. */
  tick() {
    const now = this.#clock.now();
    for (const node of document.querySelectorAll('.alarm-since')) {
      const at = Number(node.dataset.since);
      text(node, `${clockText(at)} \u00b7 ${spanText(now - at)}`);
    }
    this.#banner(this.#book.open());
  }

  #counts(open) {
    byId('counts').replaceChildren(...Object.entries(SIGNS).map(([priority, sign]) => {
      const count = open.filter((alarm) => alarm.priority === priority).length;
      return el('span', { class: 'count', dataset: { level: count > 0 ? priority : 'none' }, title: `${count} ${priority} priority` }, `${sign} ${count}`);
    }));
    const button = byId('alarms-open');
    text(button, open.length > 0 ? `Alarms ${open.length}` : 'Alarms');
    mark(button, 'level', levelOf(open[0]));
  }

  #banner(open) {
    const banner = byId('banner');
    const top = open[0];
    mark(banner, 'level', levelOf(top));
    mark(banner, 'id', top?.alarm_id ?? '');
    if (!top) {
      text(banner, 'No open alarms');
      return;
    }
    const waiting = open.filter((alarm) => alarm.state !== 'acknowledged').length;
    const rest = waiting - (top.state === 'acknowledged' ? 0 : 1);
    const more = [where(top), spanText(this.#clock.now() - since(top)),
      top.state === 'latched' ? 'latched' : top.state === 'acknowledged' ? `taken by ${top.acknowledged_by}` : '',
      rest > 0 ? `${rest} more` : ''].filter(Boolean).join('\u2002\u00b7\u2002');
    const said = `${top.alarm_id} ${more}`;
    if (banner.dataset.said === said && banner.childElementCount > 0) return;
    banner.dataset.said = said;
    banner.replaceChildren(el('button', { type: 'button', class: 'banner-text',
      onclick: () => (top.device ? this.#actions.open(top.device) : this.#drawer(true)) },
    el('strong', {}, `${SIGNS[top.priority]} ${titleOf(top)}`), el('span', {}, more)));
    if (top.state !== 'acknowledged') {
      banner.append(el('button', { type: 'button', class: 'take', onclick: () => this.take(top) }, 'Acknowledge'));
    }
  }

  #drawer(open) {
    byId('alarms').classList.toggle('drawn', open);
    if (open) byId('alarms-close').focus();
  }

  /** Ask who takes `alarm`, and for how long. */
  take(alarm) {
    const dialog = byId('acknowledge');
    dialog.dataset.id = alarm.alarm_id;
    text(byId('acknowledge-what'), `${SIGNS[alarm.priority]} ${titleOf(alarm)}, ${where(alarm)}`);
    text(byId('acknowledge-error'), '');
    byId('acknowledge-by').value = localStorage.getItem(NAME_KEY) ?? '';
    dialog.showModal();
  }

  async #send() {
    const dialog = byId('acknowledge');
    const by = byId('acknowledge-by').value.trim();
    if (by === '') {
      text(byId('acknowledge-error'), 'Say who you are.');
      return;
    }
    try {
      const alarm = await acknowledge(dialog.dataset.id, by, Number(byId('acknowledge-for').value));
      localStorage.setItem(NAME_KEY, by);
      this.#book.note(alarm);
      dialog.close();
    } catch (error) {
      text(byId('acknowledge-error'), error instanceof ApiError ? error.message : 'No connection: the alarm is not acknowledged.');
    }
  }
}

function announce(alarm) {
  byId(alarm.priority === 'high' ? 'announce-high' : 'announce').textContent =
    `${alarm.priority} priority alarm: ${titleOf(alarm)}, ${where(alarm)}`;
}
