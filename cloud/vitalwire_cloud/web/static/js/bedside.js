// What staff see at the bedside and no wearable measures: for NEWS2 on the gateway, until it is too old.

import { ApiError, bedside, say, sayPaced } from './api.js';
import { el, mark, text } from './dom.js';
import { clockText, fromJson } from './time.js';

const ASK_MS = 5000;
const TELLING_MS = 1000; // while the gateway is being told
const NAME = 'vitalwire.by';
const WITHDRAW = 'withdraw';
const KINDS = {
  consciousness: ['Consciousness', { alert: 'alert', confusion: 'new confusion', voice: 'responds to voice', pain: 'responds to pain', unresponsive: 'unresponsive' }],
  oxygen: ['Oxygen', { yes: 'supplemental oxygen', no: 'room air' }],
  spo2_scale: ['SpO\u2082 scale', { 1: 'scale 1', 2: 'scale 2 (prescribed)' }],
};
const PACED = { yes: 'pacemaker', no: 'no pacemaker', unknown: 'pacemaker not known' };
const STATES = { counts: 'until', too_old: 'too old since', other_wearer: 'said before the wearable changed hands, until' };

const chooser = (name, label, offered) =>
  el('label', { class: 'bedside-field' }, label,
    el('select', { name }, el('option', { value: '' }, 'as it is'),
      ...Object.entries(offered).map(([value, said]) => el('option', { value }, said))));

export class Bedside {
  #device;
  #by = el('input', { name: 'by', maxlength: '64', required: '', autocomplete: 'off', 'aria-label': 'Your name or initials', placeholder: 'Your name or initials' });
  #button = el('button', { type: 'submit', class: 'tool' }, 'Enter');
  #said = el('span', { class: 'bedside-said', role: 'status' });
  #list = el('ul', { class: 'bedside-list' });
  #fields;
  #form;
  #due = 0;
  #trouble = '';
  #shown = null;

  constructor(device) {
    this.#device = device;
    this.#by.value = sessionStorage.getItem(NAME) ?? '';
    this.#fields = [
      ...Object.entries(KINDS).map(([what, [label, values]]) => chooser(what, label, { ...values, [WITHDRAW]: 'not known any more' })),
      chooser('paced', 'Pacemaker', PACED)];
    this.#form = el('form', { class: 'bedside-form' }, ...this.#fields, this.#by, this.#button);
    this.#form.addEventListener('submit', (event) => { event.preventDefault(); this.#enter(); });
    this.node = el('section', { class: 'bedside', 'aria-label': 'At the bedside' }, el('h3', {}, 'At the bedside'), this.#list, this.#form, this.#said);
    this.node.hidden = true;
  }

  tick() {
    if (performance.now() < this.#due) return;
    this.#due = performance.now() + ASK_MS;
    this.#try(async () => this.#show(await bedside(this.#device)));
  }

  async #enter() {
    const by = this.#by.value.trim();
    const { paced, ...seen } = Object.fromEntries(
      this.#fields.map((field) => field.querySelector('select')).filter((one) => one.value !== '').map((one) => [one.name, one.value]));
    if (by === '') return;
    sessionStorage.setItem(NAME, by);
    this.#button.disabled = true;
    await this.#try(async () => {
      if (paced === undefined && Object.keys(seen).length === 0) {
        throw new ApiError(0, { detail: 'Nothing was chosen', fix: 'choose what you see' });
      }
      if (paced !== undefined) await sayPaced(this.#shown.patient, paced, by);
      if (Object.keys(seen).length > 0) await say(this.#device, seen, by);
      for (const field of this.#fields) field.querySelector('select').value = '';
      this.#show(await bedside(this.#device));
    });
    this.#button.disabled = false;
  }

  async #try(what) {
    try {
      await what();
      this.#trouble = '';
    } catch (error) {
      if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error;
      this.#trouble = error.message;
    }
    text(this.#said, this.#trouble || this.#words());
  }

  #show(found) {
    this.node.hidden = found.patient === null;
    if (!found.delivered) this.#due = Math.min(this.#due, performance.now() + TELLING_MS);
    if (JSON.stringify(found) === JSON.stringify(this.#shown)) return;
    this.#shown = found;
    mark(this.node, 'delivered', String(found.delivered));
    this.#list.replaceChildren(
      ...found.entries.map((entry) => {
        const [label, values] = KINDS[entry.what];
        const until = `${STATES[entry.state]} ${clockText(fromJson(entry.expires_ns))}`;
        return el('li', { dataset: { state: entry.state } },
          el('b', {}, `${label}: ${values[entry.value]}`), ` seen ${clockText(fromJson(entry.entered_ns))} by ${entry.author}, ${until}`);
      }),
      el('li', {}, el('b', {}, PACED[found.paced])));
  }

  #words() {
    if (this.#shown === null || this.#shown.patient === null) return '';
    if (!this.#shown.delivered) return 'The gateway is being told.';
    return this.#shown.entries.some((entry) => entry.state === 'counts') ? 'The gateway counts this in NEWS2.' : 'Nothing for NEWS2: the score stays incomplete.';
  }
}
