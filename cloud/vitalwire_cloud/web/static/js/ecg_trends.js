// What the gateway derives from the ECG once a minute: intervals, variability, ectopy. No number where none was measured.

import { el, mark, text } from './dom.js';
import { spanText } from './time.js';

const MINUTE = 60000;
const STALE = 3 * MINUTE;
const GONE = 15 * MINUTE;

const ROWS = [
  { code: 146944, name: 'PR', unit: 'ms', digits: 0, title: 'PR interval of the median beat' },
  { code: 147228, name: 'QRS', unit: 'ms', digits: 0, title: 'QRS duration of the median beat' },
  { code: 147232, name: 'QT', unit: 'ms', digits: 0, title: 'QT interval of the median beat' },
  { code: 147236, name: 'QTc', unit: 'ms', digits: 0, title: 'QT interval corrected for the rate' },
  { code: 192512, name: 'SDNN', unit: 'ms', digits: 0, title: 'Standard deviation of normal intervals, 5 minutes' },
  { code: 192513, name: 'RMSSD', unit: 'ms', digits: 0, title: 'Root mean square of successive differences, 5 minutes' },
  { code: 192514, name: 'LF/HF', unit: '', digits: 1, title: 'Low over high frequency power of normal intervals, 5 minutes' },
  { code: 192521, name: 'SDANN', unit: 'ms', digits: 0, title: 'Standard deviation of the 5-minute means of normal intervals, 24 hours; from 18 hours of them on' },
  { code: 192522, name: 'SDNN index', unit: 'ms', digits: 0, title: 'Mean of the 5-minute standard deviations of normal intervals, 24 hours; from 18 hours of them on' },
  { code: 192523, name: 'HRV parts', unit: 'of 288', digits: 0, title: 'How many 5-minute parts of the last 24 hours SDANN and SDNN index rest on' },
  { code: 148066, name: 'PVC', unit: '/min', digits: 0, title: 'Ventricular ectopic beats in the last minute' },
  { code: 192515, name: 'V', unit: '/h', digits: 0, title: 'Ventricular ectopic beats, last hour' },
  { code: 192516, name: 'S', unit: '/h', digits: 0, title: 'Premature beats of the own shape, last hour' },
  { code: 192517, name: 'V burden', unit: '%', digits: 1, title: 'Share of ventricular beats, last hour' },
  { code: 192518, name: 'Couplets', unit: '/h', digits: 0, title: 'Two ventricular beats in a row, last hour' },
  { code: 192519, name: 'Runs', unit: '/h', digits: 0, title: 'Three or more ventricular beats in a row, last hour' },
  { code: 192520, name: 'Bigeminy', unit: '%', digits: 1, title: 'Share of beats in bigeminy, last hour' },
];

export class EcgTrends {
  node = el('dl', { class: 'ecg-trends' });
  #rows;

  constructor() {
    this.#rows = ROWS.map((row) => {
      const parts = { value: el('dd', {}, '--'), age: el('dd', { class: 'ecg-trend-age' }) };
      const node = el('div', { class: 'ecg-trend', title: row.title, dataset: { code: String(row.code), state: 'none' } },
        el('dt', {}, row.name), parts.value, parts.age);
      this.node.append(node);
      return { row, node, parts };
    });
  }

  /** Show the newest of each as they stand at `now`. */
  show(vitals, now) {
    for (const { row, node, parts } of this.#rows) {
      const point = vitals.get(row.code);
      const age = point ? now - point.t : Infinity;
      const known = point && point.value !== null && age < GONE;
      text(parts.value, known ? `${point.value.toFixed(row.digits)} ${row.unit}`.trim() : '--');
      text(parts.age, !point ? '' : point.value === null ? 'not measurable' : spanText(age));
      mark(node, 'state', !point ? 'none' : !known ? 'gone' : age > STALE ? 'stale' : 'fresh');
    }
  }
}
