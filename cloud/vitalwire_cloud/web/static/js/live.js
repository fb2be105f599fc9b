// The live WebSocket: connects again by itself, decodes, confirms, and knows how old its newest word is.

import { ApiError, protocols, service } from './api.js';
import { fromJson, fromNs } from './time.js';

const VERSION = 1;
const WAVES = 1;
const SILENT_MS = 3500; // the server speaks at least once a second
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

/** Blocks of a binary message (layout: packing.py). Throws on another version. */
export function decodeWaves(buffer) {
  const view = new DataView(buffer);
  if (view.getUint8(0) !== VERSION || view.getUint8(1) !== WAVES) {
    throw new Error(`binary message of version ${view.getUint8(0)}: reload the page`);
  }
  const message = { frame: view.getUint32(4, true), now: fromNs(view.getBigInt64(8, true)), blocks: [] };
  let at = 16;
  for (let left = view.getUint16(2, true); left > 0; left -= 1) {
    const count = view.getUint32(at + 28, true);
    const startNs = view.getBigInt64(at + 8, true);
    message.blocks.push({
      index: view.getUint16(at, true),
      flags: view.getUint16(at + 2, true),
      code: view.getUint32(at + 4, true),
      startNs,
      t0: fromNs(startNs),
      rate: view.getFloat64(at + 16, true),
      scale: view.getFloat32(at + 24, true),
      values: new Int16Array(buffer.slice(at + 32, at + 32 + 2 * count)),
    });
    at += 32 + 2 * count;
  }
  return message;
}

/** Keeps one connection alive. `on` holds the receivers: open, down, waves(blocks), unauthorised and one a type. */
export class Live {
  #on;
  #clock;
  #socket = null;
  #wait = FIRST_WAIT_MS;
  #heard = -Infinity;
  #retry = null;
  #attempt = 0;

  constructor(clock, on) {
    this.#clock = clock;
    this.#on = on;
    setInterval(() => this.#watch(), 500);
    globalThis.addEventListener('online', () => this.connect());
  }

  /** Milliseconds since the server was last heard. */
  age() {
    return performance.now() - this.#heard;
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN && this.age() < SILENT_MS;
  }

  /** Connect now, whatever was before. */
  async connect() {
    clearTimeout(this.#retry);
    this.#drop();
    this.#attempt += 1;
    const attempt = this.#attempt;
    try {
      await service();
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (error instanceof ApiError && error.status === 401) {
        this.#on.unauthorised(error.message);
        return;
      }
      this.#again();
      return;
    }
    if (attempt !== this.#attempt) return;
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/live`, protocols());
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    this.#heard = performance.now();
    socket.onopen = () => {
      this.#wait = FIRST_WAIT_MS;
      this.#clock.reset();
    };
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#again();
    };
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = null;
      socket.close();
    }
  }

  #again() {
    this.#on.down();
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.connect(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(LONGEST_WAIT_MS, this.#wait * 1.7);
  }

  #watch() {
    if (this.#socket && this.age() > SILENT_MS) {
      this.#drop();
      this.#again();
    }
  }

  #receive(socket, data) {
    if (socket !== this.#socket) return;
    this.#heard = performance.now();
    if (typeof data === 'string') {
      for (const message of JSON.parse(data)) {
        if (message.now_ns !== undefined) this.#clock.note(fromJson(message.now_ns));
        this.#on[message.type]?.(message);
      }
      return;
    }
    const message = decodeWaves(data);
    this.#clock.note(message.now);
    this.#on.waves(message.blocks);
    socket.send(String(message.frame));
  }
}
