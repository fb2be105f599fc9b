// The waveforms of one patient: one canvas a channel over its grid, with name, lead-off and no-data marks.

import { el, mark, text } from './dom.js';
import { drawGrid, drawMillivolt, paper } from './paper.js';
import { Sweep } from './sweep.js';
import { LEAD_OFF } from './waves.js';

const ECG = '#3df28b';
const OTHER = '#4cd4f5';
const NO_DATA_MS = 3000;

/** Strips of up to `most` channels of `patient`. */
export class Strips {
  node = el('div', { class: 'strips' });
  #patient;
  #most;
  #strength;
  #millivolt;
  #strips = [];
  #observer = new ResizeObserver(() => this.resize());

  constructor(patient, { most, grid = 1, millivolt = false }) {
    this.#millivolt = millivolt;
    this.#patient = patient;
    this.#most = most;
    this.#strength = grid;
    this.build();
    this.#observer.observe(this.node);
  }

  /** Make the canvases for the channels that the patient has now. */
  build() {
    const ecg = (channel) => channel.unit === 'uV';
    const channels = [...this.#patient.waveChannels].sort((a, b) => Number(ecg(b)) - Number(ecg(a))).slice(0, this.#most);
    this.#strips = channels.map((channel) => {
      const grid = el('canvas', { class: 'grid', 'aria-hidden': 'true' });
      const canvas = el('canvas', { class: 'trace', role: 'img', 'aria-label': `${channel.name} waveform of ${this.#patient.name}` });
      const label = el('span', { class: 'strip-name' }, channel.name);
      const state = el('span', { class: 'strip-state' });
      const cal = ecg(channel) ? el('span', { class: 'strip-cal' }) : null;
      const node = el('div', { class: 'strip', dataset: { code: channel.code, kind: ecg(channel) ? 'ecg' : 'other', state: 'ok' } },
        grid, canvas, label, state, cal);
      return { channel, grid, canvas, state, cal, node, sweep: null };
    });
    this.node.replaceChildren(...this.#strips.map((strip) => strip.node));
  }

  resize() {
    for (const strip of this.#strips) {
      if (strip.canvas.clientWidth === 0) continue;
      const ecg = strip.channel.unit === 'uV';
      if (ecg) drawGrid(strip.grid, this.#strength);
      if (ecg && this.#millivolt) drawMillivolt(strip.grid);
      if (strip.cal) {
        text(strip.cal, `${paper.speed} mm/s  ${paper.gain} mm/mV`);
      }
      if (strip.sweep) strip.sweep.resize();
      else {
        strip.sweep = new Sweep(strip.canvas, this.#patient.waves.get(strip.channel.code), {
          colour: ecg ? ECG : OTHER, calibrated: ecg });
        if (ecg) strip.sweep.beats(this.#patient.beats);
      }
    }
  }

  sweep(code) {
    return this.#strips.find((strip) => strip.channel.code === code)?.sweep ?? null;
  }

  added(code, pieces) {
    this.sweep(code)?.added(pieces);
  }

  beats(beats) {
    for (const strip of this.#strips) if (strip.channel.unit === 'uV') strip.sweep?.beats(beats);
  }

  /** Time up to which the first strip is written, or null. */
  get head() {
    return this.#strips[0]?.sweep?.head ?? null;
  }

  /** Write on until `head`. */
  draw(head) {
    for (const { sweep } of this.#strips) sweep?.draw(head);
  }

  /** Say what the head stands in: lead-off, no data, or a signal. Call about once a second. */
  tick() {
    for (const strip of this.#strips) {
      if (!strip.sweep || strip.sweep.head === null) continue;
      const head = strip.sweep.head;
      const block = strip.sweep.buffer.touching(head - 1000, head).at(-1);
      const none = !block && strip.sweep.buffer.touching(head - NO_DATA_MS, head).length === 0;
      const state = none ? 'none' : block && block.flags & LEAD_OFF ? 'off' : 'ok';
      mark(strip.node, 'state', state);
      text(strip.state, { none: 'No data', off: 'Lead off', ok: '' }[state]);
    }
  }

  close() {
    this.#observer.disconnect();
  }
}
