// Live waveform of a wearable whose gateway keeps it back: who asks, for how long, and whether it comes.

import { ApiError, demandWaveform, demands } from './api.js';
import { el, mark, text } from './dom.js';
import { clockText, fromJson, spanText } from './time.js';

const QUIET_MS = 5000; // without waveform for this long, a wearable that is there sends features only
const ASK_MS = 2000;
const NAME = 'vitalwire.by';

export class Demand {
  #patient;
  #button = el('button', { type: 'submit', class: 'tool' }, 'Show live waveform');
  #by = el('input', { name: 'by', maxlength: '64', required: '', autocomplete: 'off', 'aria-label': 'Your name or initials', placeholder: 'Your name or initials' });
  #seconds = el('select', { name: 'seconds', 'aria-label': 'For how long' },
    ...[[60, '1 minute'], [300, '5 minutes'], [900, '15 minutes']].map(([value, said]) => el('option', { value: String(value) }, said)));
  #said = el('span', { class: 'demand-said', role: 'status' });
  #last = null;
  #due = 0;
  #since = null;
  #trouble = '';

  constructor(patient) {
    this.#patient = patient;
    this.#by.value = sessionStorage.getItem(NAME) ?? '';
    this.form = el('form', { class: 'demand-form' }, this.#by, this.#seconds, this.#button);
    this.form.addEventListener('submit', (event) => { event.preventDefault(); this.#ask(); });
    this.node = el('section', { class: 'demand', 'aria-label': 'Live waveform' }, this.form, this.#said);
    this.node.hidden = true;
  }

  async #ask() {
    const by = this.#by.value.trim();
    if (by === '') return;
    sessionStorage.setItem(NAME, by);
    this.#button.disabled = true;
    await this.#try(async () => { this.#last = await demandWaveform(this.#patient.name, by, Number(this.#seconds.value)); });
    this.#button.disabled = false;
  }

  async #load() {
    await this.#try(async () => { this.#last = (await demands()).find((one) => one.device === this.#patient.name) ?? null; });
  }

  async #try(what) {
    try {
      await what();
      this.#trouble = '';
    } catch (error) {
      if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error;
      this.#trouble = error.message;
    }
  }

  /** The state at `now`; waveform of this patient was last heard at `heard`. */
  tick(now, heard) {
    if (this.#patient.waveChannels.length === 0) return;
    this.#since ??= now;
    const quiet = now - Math.max(heard ?? -Infinity, this.#since) > QUIET_MS;
    if (performance.now() >= this.#due) {
      this.#due = performance.now() + ASK_MS;
      if (quiet || this.#going(now)) this.#load();
    }
    const going = this.#going(now);
    const hidden = !quiet && !going;
    if (this.node.hidden !== hidden) this.node.hidden = hidden;
    this.form.hidden = !quiet || going;
    mark(this.node, 'state', this.#last === null ? 'none' : going ? this.#last.state : 'ended');
    text(this.#said, this.#trouble || this.#words(now, going));
  }

  #going(now) {
    return this.#last !== null && now < fromJson(this.#last.until_ns);
  }

  #words(now, going) {
    const last = this.#last;
    if (last === null) return 'Its gateway sends features only; the waveform stays there until somebody asks.';
    const until = fromJson(last.until_ns);
    const whom = `asked by ${last.asked_by}`;
    if (!going) return `${last.came_ns === null ? 'No waveform came' : 'Live waveform ended'} at ${clockText(until)}, ${whom}.`;
    const left = spanText(until - now);
    return last.state === 'streaming' ? `Live waveform for another ${left}, ${whom}.` : `Asked the gateway for ${left} of waveform, ${whom}; none came yet.`;
  }
}
