// Puts the page together: one connection, the patients it tells of, the wall, one patient in full, the alarms.

import { ApiError, beats, keepToken, models, scores, vitals } from './api.js';
import { AlarmPanel } from './alarm_list.js';
import { AlarmBook } from './alarms.js';
import { Detail } from './detail.js';
import { byId, el, mark, text } from './dom.js';
import { Live } from './live.js';
import { paper } from './paper.js';
import { Patient } from './patient.js';
import { bindSettings } from './settings.js';
import { Sound } from './sound.js';
import { BACKLOG_ROWS, Tile } from './tile.js';
import { clockText, fromNs, ServerClock, spanText, toNs } from './time.js';

const TICK_MS = 500;
const TREND_MS = 900000;
const BEATS_MS = 60000;
const SCORES_MS = 180000;
const MODELS_MS = 10000;

const clock = new ServerClock();
const book = new AlarmBook();
const patients = new Map();
const tiles = new Map();
const gateways = new Map();
const running = new Map(); // what each gateway says of its model
let indexed = []; // patients by the index that this connection's binary messages use
let detail = null;
let lastSeen = null; // server time of the newest word, while there is no connection

const open = (device) => { location.hash = `#/device/${encodeURIComponent(device)}`; };
const back = () => { location.hash = ''; };
const panel = new AlarmPanel(book, clock, open);
const sound = new Sound(book);

const live = new Live(clock, {
  hello(message) {
    text(byId('site'), message.site);
    lastSeen = null;
    byId('lost').hidden = true;
    gateways.clear();
    for (const link of message.links) addLink(link);
    indexed = message.devices.map(patientOf);
    const here = new Set(indexed.map((patient) => patient.name));
    for (const name of [...patients.keys()]) if (!here.has(name)) drop(name);
    book.replace(message.alarms);
    for (const patient of indexed) loadPast(patient);
    layOut();
    route();
  },
  device(message) {
    indexed[message.index] = patientOf(message.device);
    layOut();
  },
  waves(blocks) {
    const now = clock.now();
    for (const block of blocks) {
      const patient = indexed[block.index];
      const pieces = patient?.addWave(block, now) ?? [];
      if (pieces.length === 0) continue;
      for (const view of views(patient.name)) view.strips.added(block.code, pieces);
    }
  },
  vitals(message) { patients.get(message.device)?.addVitals(message.vitals, clock.now()); },
  beats(message) {
    const patient = patients.get(message.device);
    if (patient) showBeats(patient, message.beats);
  },
  scores(message) { patients.get(message.device)?.addScores(message.scores); },
  alarm(message) { book.note(message.alarm); },
  link(message) { addLink(message.link); },
  news2(message) { patients.get(message.device)?.addNews2(message.gateway, message.news2); },
  lost(message) {
    const notice = byId('lost');
    notice.hidden = false;
    text(notice, `This page was too slow: ${message.events} live updates were left out since it connected. `
      + 'The store has them; reload to see all.');
  },
  down() { lastSeen ??= clock.now() - live.age(); },
  unauthorised(said) {
    text(byId('token-error'), sessionStorage.length > 0 ? said : '');
    if (!byId('token').open) byId('token').showModal();
  },
});

function views(device) {
  return [tiles.get(device), detail?.patient.name === device ? detail : undefined].filter(Boolean);
}

function patientOf(view) {
  const known = patients.get(view.device);
  if (known) {
    const before = JSON.stringify(known.channels);
    known.update(view, clock.now());
    if (JSON.stringify(known.channels) !== before) for (const shown of views(known.name)) { shown.strips.build(); shown.strips.resize(); }
    return known;
  }
  const patient = new Patient(view, clock.now());
  patients.set(patient.name, patient);
  return patient;
}

function drop(name) {
  patients.delete(name);
  tiles.get(name)?.close();
  tiles.delete(name);
}

function addLink(link) {
  if (link.device === null) gateways.set(link.gateway, link);
  else patients.get(link.device)?.addLink(link);
}

function showBeats(patient, found) {
  const fresh = patient.addBeats(found);
  for (const view of views(patient.name)) view.strips.beats(fresh);
}

const reachable = (patient) => gateways.get(patient.gateway)?.state !== 'offline';

async function loadPast(patient) {
  const now = clock.now();
  try {
    showBeats(patient, await beats(patient.name, toNs(now - BEATS_MS), toNs(now + 60000)));
    patient.addScores(await scores(patient.name, toNs(now - SCORES_MS), toNs(now + 60000)));
    patient.addVitals(await vitals(patient.name, toNs(now - TREND_MS), toNs(now + 60000)), now);
  } catch (error) {
    if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error; // it fills as beats and numbers arrive
  }
}

/** One tile a patient, in steady order, in as many columns as suit the number. */
function layOut() {
  const wall = byId('wall');
  const names = [...patients.keys()].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  for (const name of names) if (!tiles.has(name)) tiles.set(name, new Tile(patients.get(name), open));
  const nodes = names.map((name) => tiles.get(name).node);
  if (nodes.some((node, i) => wall.children[i] !== node) || wall.children.length !== nodes.length) wall.replaceChildren(...nodes);
  if (names.length === 0) wall.replaceChildren(el('p', { class: 'wall-none' }, 'No wearable has announced itself yet.'));
  mark(wall, 'count', names.length <= 1 ? '1' : names.length <= 4 ? '4' : names.length <= 8 ? '8' : 'many');
}

/** Which model each gateway runs; asked for now and then, since it changes seldom. */
async function askModels() {
  if (!live.connected) return;
  try {
    for (const said of (await models()).gateways) running.set(said.gateway, said);
  } catch (error) {
    if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error; // asked again
  }
}

function modelText(gateway) {
  const said = running.get(gateway);
  if (!said) return '';
  const trial = said.state === 'candidate' ? ' on trial' : '';
  return said.version > 0 ? ` \u00b7 model ${said.version}${trial}` : ' \u00b7 no model';
}

function route() {
  const match = location.hash.match(/^#\/device\/(.+)$/);
  const patient = match ? patients.get(decodeURIComponent(match[1])) : undefined;
  if (detail && detail.patient === patient) return;
  detail?.close();
  detail = patient ? new Detail(patient, panel, back) : null;
  byId('detail').hidden = !patient;
  byId('wall').hidden = Boolean(patient);
  if (patient) byId('detail').focus({ preventScroll: true });
  tick();
}

function drawAll() {
  requestAnimationFrame(drawAll);
  if (!live.connected) return;
  const now = clock.now();
  for (const patient of patients.values()) {
    const head = patient.head(now);
    if (detail === null) tiles.get(patient.name)?.strips.draw(head);
    else if (detail.patient === patient) detail.strips.draw(head);
  }
}

function tick() {
  const now = clock.now();
  const down = !live.connected;
  text(byId('clock'), clockText(now));
  text(byId('connection'), down ? 'No connection' : 'Live');
  mark(byId('connection'), 'state', down ? 'down' : 'live');
  const offline = byId('offline');
  const told = down && lastSeen !== null;
  if (offline.hidden === told) offline.hidden = !told;
  if (told) text(offline, `No connection \u2014 what you see is ${spanText(now - lastSeen)} old. Connecting again\u2026`);
  document.body.classList.toggle('down', told);
  byId('gateways').replaceChildren(...[...gateways.values()].sort((a, b) => a.gateway.localeCompare(b.gateway)).map((link) => el('span', {
    class: 'gateway', dataset: { kind: link.state }, title: `Gateway ${link.gateway} is ${link.state}` },
  `${link.state === 'online' ? '\u25cf' : '\u25cb'} ${link.gateway}${link.state === 'online' ? '' : ' offline'}${modelText(link.gateway)}${link.backlog_rows > BACKLOG_ROWS ? ` \u00b7 backlog ${link.backlog_rows}` : ''}`)));
  if (detail) detail.tick(now, book.open(detail.patient), reachable(detail.patient));
  else for (const tile of tiles.values()) tile.tick(now, book.open(tile.patient), reachable(tile.patient));
  panel.tick();
}

byId('token-form').addEventListener('submit', () => {
  keepToken(byId('token-value').value.trim());
  live.connect();
});
byId('token').addEventListener('cancel', (event) => event.preventDefault());
globalThis.addEventListener('hashchange', route);
globalThis.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && detail && !document.querySelector('dialog[open]')) back();
});
paper.addEventListener('change', () => {
  for (const tile of tiles.values()) tile.strips.resize();
  detail?.strips.resize();
});
book.addEventListener('change', () => tick());
bindSettings();
setInterval(tick, TICK_MS);
setInterval(askModels, MODELS_MS);
setTimeout(askModels, 1000);
requestAnimationFrame(drawAll);
live.connect();

// What was drawn, for whoever wants to compare it with the store.
globalThis.vitalwire = {
  drawn: (device, code, ms = 10000) => views(device).at(-1)?.strips.sweep(code)?.drawn(ms) ?? [],
  place: (device, code, ns, value) => views(device).at(-1)?.strips.sweep(code)?.place(fromNs(BigInt(ns)), value) ?? null,
  gaps(device, code) {
    const sweep = views(device).at(-1)?.strips.sweep(code);
    if (!sweep || sweep.head === null) return [];
    return sweep.buffer.gaps(sweep.head - sweep.windowMs, sweep.head).map(([from, to]) => [String(toNs(from)), String(toNs(to))]);
  },
  get connected() { return live.connected; },
  get sounding() { return sound.on; },
};
