// Audible alarms: bursts of pulses after IEC 60601-1-8 table 3 (10, 3 or 2 pulses), off until somebody turns them on.

import { byId, mark, text } from './dom.js';

// Seconds from the start of a burst to each pulse; how long a pulse lasts; seconds from burst to burst.
const BURSTS = {
  high: { pulses: [0, 0.25, 0.5, 0.95, 1.2, 1.95, 2.2, 2.45, 2.9, 3.15], length: 0.15, every: 7, hz: 660, gain: 0.34 },
  medium: { pulses: [0, 0.45, 0.9], length: 0.2, every: 10, hz: 523, gain: 0.24 },
  low: { pulses: [0, 0.6], length: 0.2, every: 22, hz: 440, gain: 0.16 },
};
const HARMONICS = [1, 0.7, 0.5, 0.35, 0.22]; // at least four beside the fundamental, so that direction can be heard

export class Sound {
  #book;
  #context = null;
  #wave = null;
  #next = 0;
  #last = null;

  constructor(book) {
    this.#book = book;
    byId('sound').addEventListener('click', () => this.toggle());
    setInterval(() => this.#tick(), 200);
    this.#show();
  }

  get on() {
    return this.#context?.state === 'running';
  }

  async toggle() {
    if (this.on) {
      await this.#context.suspend();
    } else {
      this.#context ??= new AudioContext();
      await this.#context.resume();
      this.#next = 0;
    }
    this.#show();
  }

  #show() {
    const button = byId('sound');
    button.setAttribute('aria-pressed', String(this.on));
    text(button, this.on ? 'Sound on' : 'Sound off');
    button.title = this.on ? 'Alarms sound on this screen' : 'Alarms are silent on this screen. Turn the sound on.';
    mark(button, 'silent', String(!this.on));
  }

  #tick() {
    const alarm = this.#book.loudest();
    if (!alarm || !this.on) {
      this.#last = null;
      return;
    }
    const now = performance.now() / 1000;
    if (this.#last === alarm.priority && now < this.#next) return;
    this.#last = alarm.priority;
    const burst = BURSTS[alarm.priority];
    this.#next = now + burst.every;
    for (const at of burst.pulses) this.#pulse(this.#context.currentTime + 0.05 + at, burst);
  }

  #pulse(at, { length, hz, gain }) {
    const context = this.#context;
    this.#wave ??= context.createPeriodicWave(new Float32Array([0, ...HARMONICS]), new Float32Array(HARMONICS.length + 1));
    const source = context.createOscillator();
    source.setPeriodicWave(this.#wave);
    source.frequency.value = hz;
    const level = context.createGain();
    level.gain.setValueAtTime(0, at);
    level.gain.linearRampToValueAtTime(gain, at + 0.02);
    level.gain.setValueAtTime(gain, at + length - 0.03);
    level.gain.linearRampToValueAtTime(0, at + length);
    source.connect(level).connect(context.destination);
    source.start(at);
    source.stop(at + length + 0.01);
  }
}
