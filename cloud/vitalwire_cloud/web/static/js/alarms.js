// All alarms this page knows, in the order that staff needs them (IEC 60601-1-8: priority, then time).

import { fromJson } from './time.js';

export const SIGNS = { high: '!!!', medium: '!!', low: '!' };
const RANK = { high: 0, medium: 1, low: 2 };
const STATE_RANK = { active: 0, latched: 1, acknowledged: 2, cleared: 3 };
const KEEP_CLEARED = 50;

const TITLES = {
  asystole: 'Asystole',
  ventricular_fibrillation: 'Ventricular fibrillation',
  ventricular_tachycardia: 'Ventricular tachycardia',
  extreme_tachycardia: 'Extreme tachycardia',
  extreme_bradycardia: 'Extreme bradycardia',
  tachycardia: 'Tachycardia',
  bradycardia: 'Bradycardia',
  atrial_fibrillation: 'Atrial fibrillation',
  spo2_low: 'SpO\u2082 low',
  temperature_high: 'Temperature high',
  temperature_low: 'Temperature low',
  respiration_high: 'Respiration high',
  respiration_low: 'Respiration low',
  pressure_high: 'Blood pressure high',
  pressure_low: 'Blood pressure low',
  news2: 'NEWS2',
  ecg_unanalysable: 'ECG cannot be analysed',
  lead_off: 'Lead off',
  device_silent: 'No data from device',
  battery_low: 'Battery low',
  gateway_silent: 'Gateway silent',
  gateway_twice: 'Two gateways of one name',
  beat_anomaly: 'Unusual beat',
};

/** What the alarm is about. Its text may say in the end how it ended, so it is no title. */
export const titleOf = (alarm) => TITLES[alarm.kind] ?? alarm.text;

/** Open alarms and the last cleared ones. */
export class AlarmBook extends EventTarget {
  #known = new Map();

  /** Forget everything and take what the service says is open. */
  replace(alarms) {
    this.#known = new Map(alarms.map((alarm) => [alarm.alarm_id, alarm]));
    this.dispatchEvent(new Event('change'));
  }

  /** Take an alarm in its new state. */
  note(alarm) {
    const before = this.#known.get(alarm.alarm_id);
    this.#known.set(alarm.alarm_id, alarm);
    const cleared = [...this.#known.values()].filter((known) => known.state === 'cleared');
    for (const old of cleared.slice(0, -KEEP_CLEARED)) this.#known.delete(old.alarm_id);
    this.dispatchEvent(new Event('change'));
    if (!before && alarm.state === 'active') this.dispatchEvent(new CustomEvent('raised', { detail: alarm }));
  }

  get(id) {
    return this.#known.get(id);
  }

  /** Open alarms, most urgent first; where a patient is given, of that device and of the gateway it depends on. */
  open(patient) {
    return [...this.#known.values()]
      .filter((alarm) => alarm.state !== 'cleared' && (patient === undefined || alarm.device === patient.name
        || (alarm.device === null && alarm.gateway === patient.gateway)))
      .sort(urgency);
  }

  /** Cleared ones, newest first. */
  cleared() {
    return [...this.#known.values()].filter((alarm) => alarm.state === 'cleared').sort((a, b) => b.raised_ns - a.raised_ns);
  }

  /** Most urgent alarm that nobody has taken: latched ones keep asking too. */
  loudest() {
    return this.open().find((alarm) => alarm.state !== 'acknowledged');
  }
}

export function urgency(a, b) {
  const taken = Number(a.state === 'acknowledged') - Number(b.state === 'acknowledged');
  return taken || RANK[a.priority] - RANK[b.priority] || STATE_RANK[a.state] - STATE_RANK[b.state]
    || Number(a.category === 'technical') - Number(b.category === 'technical') || b.raised_ns - a.raised_ns;
}

/** Level that a tile or banner shows: the priority while somebody must act, else that it is taken or over. */
export const levelOf = (alarm) => (!alarm ? 'none' : alarm.state === 'acknowledged' ? 'taken' : alarm.priority);

export const where = (alarm) => alarm.device ?? `gateway ${alarm.gateway}`;
export const since = (alarm) => fromJson(alarm.onset_ns);
