// Whose a wearable is: the pseudonym, and staff that admits, hands over and takes back.

import { ApiError, admit, hand, wearers } from './api.js';
import { el, text } from './dom.js';
import { clockText, fromJson } from './time.js';

const ASK_MS = 5000;
const NAME = 'vitalwire.by';
const NEW = 'new';
const NOBODY = '';

export class Wearer {
  #device;
  #by = el('input', { name: 'by', maxlength: '64', required: '', autocomplete: 'off', 'aria-label': 'Your name or initials', placeholder: 'Your name or initials' });
  #to = el('select', { name: 'patient', 'aria-label': 'Whose it is from now on' });
  #button = el('button', { type: 'submit', class: 'tool' }, 'Hand over');
  #said = el('span', { class: 'wearer-said', role: 'status' });
  #due = 0;
  #offered = null;
  #trouble = '';
  #held = null;

  constructor(device) {
    this.#device = device;
    this.#by.value = sessionStorage.getItem(NAME) ?? '';
    const form = el('form', { class: 'wearer-form' }, this.#to, this.#by, this.#button);
    form.addEventListener('submit', (event) => { event.preventDefault(); this.#hand(); });
    this.node = el('section', { class: 'wearer', 'aria-label': 'Wearer' }, this.#said, form);
  }

  tick() {
    if (performance.now() < this.#due) return;
    this.#due = performance.now() + ASK_MS;
    this.#try(async () => this.#show(await wearers()));
  }

  async #hand() {
    const by = this.#by.value.trim();
    if (by === '') return;
    sessionStorage.setItem(NAME, by);
    this.#button.disabled = true;
    await this.#try(async () => {
      const chosen = this.#to.value;
      const to = chosen === NEW ? (await admit(by)).patient : chosen === NOBODY ? null : chosen;
      this.#show(await hand(this.#device, to, by));
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

  #show({ patients, assignments }) {
    this.#held = assignments.find((one) => one.device === this.#device && one.end_ns === null) ?? null;
    const here = patients.filter((one) => one.discharged_ns === null && one.patient !== this.#held?.patient).map((one) => one.patient);
    const offered = JSON.stringify([this.#held, here]);
    if (offered === this.#offered) return;
    this.#offered = offered;
    const choices = [...here.map((one) => [one, one]), [NEW, 'a new patient'], ...(this.#held ? [[NOBODY, 'nobody']] : [])];
    this.#to.replaceChildren(...choices.map(([value, said]) => el('option', { value }, said)));
  }

  #words() {
    if (this.#held === null) return 'Assigned to nobody: stored and alarmed, in no patient\u2019s name.';
    return `Patient ${this.#held.patient} since ${clockText(fromJson(this.#held.start_ns))}`;
  }
}
