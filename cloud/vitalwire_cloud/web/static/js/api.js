// Requests to the API, with the token where the service asks for one.

const KEY = 'vitalwire.token';

/** An answer that is not the one asked for; `message` says what and how to fix it. */
export class ApiError extends Error {
  constructor(status, problem) {
    super([problem.detail, problem.fix].filter(Boolean).join(': ') || `the service answered ${status}`);
    this.status = status;
  }
}

export const token = () => sessionStorage.getItem(KEY);
export const keepToken = (value) => sessionStorage.setItem(KEY, value);

async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token()) headers.set('Authorization', `Bearer ${token()}`);
  const answer = await fetch(path, { ...options, headers, cache: 'no-store' });
  if (!answer.ok) throw new ApiError(answer.status, await answer.json().catch(() => ({})));
  return answer.json();
}

export const service = () => ask('/api/v1/service');

const range = (startNs, endNs) => `start_ns=${startNs}&end_ns=${endNs}`;

/** Waveform of a channel between two exact times (BigInt). */
export const strip = (device, code, startNs, endNs) =>
  ask(`/api/v1/devices/${encodeURIComponent(device)}/strip?code=${code}&${range(startNs, endNs)}`);

/** Numbers of a device between two exact times (BigInt). */
export const vitals = (device, startNs, endNs) =>
  ask(`/api/v1/devices/${encodeURIComponent(device)}/vitals?${range(startNs, endNs)}`);

/** Beats of a device between two exact times (BigInt). */
export const beats = (device, startNs, endNs) =>
  ask(`/api/v1/devices/${encodeURIComponent(device)}/beats?${range(startNs, endNs)}`);

/** Beat scores of a device between two exact times (BigInt). */
export const scores = (device, startNs, endNs) =>
  ask(`/api/v1/devices/${encodeURIComponent(device)}/scores?${range(startNs, endNs)}`);

/** Models, and the gateways that run them. */
export const models = () => ask('/api/v1/models');

/** Confirm or reject a model alert. */
export const label = (id, verdict, by) =>
  ask(`/api/v1/alarms/${encodeURIComponent(id)}/label`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ verdict, by }),
  });

/** Patients as pseudonyms, and who wears or wore what. */
export const wearers = () => ask('/api/v1/patients');

const post = (path, body) =>
  ask(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

/** A new patient. */
export const admit = (by) => post('/api/v1/patients', { by });

/** From now on a device is a patient's, or nobody's (null). */
export const hand = (device, patient, by) => post(`/api/v1/devices/${encodeURIComponent(device)}/wearer`, { by, patient });

/** What staff said last of the wearer of a device, and whether its gateway knows. */
export const bedside = (device) => ask(`/api/v1/devices/${encodeURIComponent(device)}/bedside`);

/** Say what you see of the wearer of a device. */
export const say = (device, seen, by) => post(`/api/v1/devices/${encodeURIComponent(device)}/bedside`, { by, ...seen });

/** Whether a patient has a pacemaker. */
export const sayPaced = (patient, paced, by) => post(`/api/v1/patients/${encodeURIComponent(patient)}/paced`, { by, paced });

/** Who asked for whose waveform, newest first. */
export const demands = () => ask('/api/v1/waveform-demands');

/** Have a gateway send the live waveform of a device for some seconds. */
export const demandWaveform = (device, by, seconds) =>
  ask(`/api/v1/devices/${encodeURIComponent(device)}/waveform`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ by, seconds }),
  });

/** Take an alarm: who, and for how many seconds. */
export const acknowledge = (id, by, forS) =>
  ask(`/api/v1/alarms/${encodeURIComponent(id)}/acknowledge`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ by, for_s: forS }),
  });

/** Subprotocols of the live WebSocket: ours, and the token where there is one. */
export function protocols() {
  if (!token()) return ['vitalwire.v1'];
  const bytes = new TextEncoder().encode(token());
  const packed = btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return ['vitalwire.v1', `vitalwire.bearer.${packed}`];
}
