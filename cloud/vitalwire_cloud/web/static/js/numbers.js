// The numbers of one patient: value, unit, age; grey when old, "--" when there is none. Never a zero for nothing.

import { el, mark, text } from './dom.js';
import { clockText, spanText } from './time.js';

export const HR = 147842;
export const SPO2 = 150456;
export const RESP = 151562;
export const TEMP = 150364;
export const SYS = 150021;
export const DIA = 150022;
export const MEAN = 150023;
const PULSE = 149530;

const SECOND = 1000;
const MINUTE = 60 * SECOND;

// `stale`: grey from this age on; `gone`: no longer shown as a value. Cuff pressures and temperatures come seldom.
const BOXES = [
  { key: 'hr', name: 'HR', unit: '/min', codes: [HR, PULSE], digits: 0, stale: 8 * SECOND, gone: 30 * SECOND },
  { key: 'spo2', name: 'SpO\u2082', unit: '%', codes: [SPO2], digits: 0, stale: 10 * SECOND, gone: 60 * SECOND },
  { key: 'resp', name: 'RR', unit: '/min', codes: [RESP], digits: 0, stale: 20 * SECOND, gone: 90 * SECOND },
  { key: 'temp', name: 'Temp', unit: '\u00b0C', codes: [TEMP], digits: 1, stale: 2 * MINUTE, gone: 15 * MINUTE },
  { key: 'bp', name: 'BP', unit: 'mmHg', codes: [SYS, DIA, MEAN], digits: 0, stale: 20 * MINUTE, gone: 120 * MINUTE },
];

const ALARMED = {
  hr: ['asystole', 'ventricular_fibrillation', 'ventricular_tachycardia', 'extreme_tachycardia',
    'extreme_bradycardia', 'tachycardia', 'bradycardia', 'atrial_fibrillation'],
  spo2: ['spo2_low'],
  resp: ['respiration_high', 'respiration_low'],
  temp: ['temperature_high', 'temperature_low'],
  bp: ['pressure_high', 'pressure_low'],
};

const STATUS = { 1: 'doubtful', 2: 'sensor off', 3: 'invalid' };

export class Numbers {
  node = el('div', { class: 'numbers' });
  #boxes;

  constructor() {
    this.#boxes = BOXES.map((box) => {
      const parts = {
        name: el('span', { class: 'number-name' }, box.name),
        unit: el('span', { class: 'number-unit' }, box.unit),
        value: el('span', { class: 'number-value' }, '--'),
        more: el('span', { class: 'number-more' }),
        age: el('span', { class: 'number-age' }),
      };
      const node = el('div', { class: 'number', dataset: { key: box.key, state: 'none', level: 'none' } },
        el('div', { class: 'number-head' }, parts.name, parts.unit),
        el('div', { class: 'number-body' }, parts.value, parts.more), parts.age);
      this.node.append(node);
      return { box, node, parts };
    });
  }

  /** Show the newest numbers of `vitals` (code -> point) as they stand at `now`, and which of them `alarms` mean. */
  show(vitals, alarms, now) {
    for (const { box, node, parts } of this.#boxes) {
      const point = newest(box.codes.map((code) => vitals.get(code)));
      const age = point ? now - point.t : Infinity;
      const usable = point && point.value !== null && age < box.gone;
      text(parts.value, usable ? shown(box, vitals, point) : '--');
      text(parts.more, box.key === 'bp' && usable ? mean(vitals, point) : '');
      text(parts.age, told(point, age, box));
      mark(node, 'state', !point ? 'none' : !usable ? 'gone' : age > box.stale ? 'stale' : point.status === 1 ? 'doubt' : 'fresh');
      mark(node, 'level', alarms.find((alarm) => ALARMED[box.key].includes(alarm.kind))?.priority ?? 'none');
      if (box.key === 'hr') text(parts.name, point?.code === PULSE ? 'Pulse' : 'HR');
    }
  }
}

const newest = (points) => points.find((point) => point !== undefined && point.value !== null) ?? points.find(Boolean);

function shown(box, vitals, point) {
  if (box.key !== 'bp') return point.value.toFixed(box.digits);
  const [high, low] = [vitals.get(SYS), vitals.get(DIA)];
  const whole = (part) => (part && part.value !== null ? part.value.toFixed(0) : '--');
  return `${whole(high)}/${whole(low)}`;
}

function mean(vitals, point) {
  const middle = vitals.get(MEAN);
  return middle && middle.value !== null && Math.abs(middle.t - point.t) < 60000 ? `(${middle.value.toFixed(0)})` : '';
}

function told(point, age, box) {
  if (!point) return 'no data';
  if (point.value === null) return `${STATUS[point.status] ?? 'no value'} ${spanText(age)}`;
  if (age >= box.gone) return `last ${point.value.toFixed(box.digits)} at ${clockText(point.t)}`;
  return point.status === 1 ? `doubtful, ${spanText(age)}` : spanText(age);
}
