// The last minute of the first ECG lead in one line, so that the onset of an episode stays in sight.

import { ApiError, strip } from './api.js';
import { titleOf } from './alarms.js';
import { el } from './dom.js';
import { fit } from './paper.js';
import { fromJson, toNs } from './time.js';
import { blockEnd, LEAD_OFF } from './waves.js';

const SPAN_MS = 60000;
const SCALE_UV = 3000; // microvolts that the height shows

const COLOUR = { high: '#ff5465', medium: '#ffd21f', low: '#37d3e6' };

export class Overview {
  node = el('canvas', { class: 'overview', role: 'img', 'aria-label': 'ECG of the last 60 seconds' });
  #patient;
  #channel;

  constructor(patient) {
    this.#patient = patient;
    this.#channel = patient.waveChannels.find((channel) => channel.unit === 'uV');
    this.#load();
  }

  /** What was before this page came, out of the store. */
  async #load() {
    const buffer = this.#patient.waves.get(this.#channel?.code);
    if (!buffer || !Number.isFinite(buffer.end)) return;
    try {
      const answer = await strip(this.#patient.name, this.#channel.code, toNs(buffer.end - SPAN_MS), toNs(buffer.end));
      for (const segment of answer.segments) {
        const t0 = fromJson(segment.start_ns);
        buffer.insert({ t0, startNs: toNs(t0), rate: segment.rate_hz, scale: 1, flags: segment.flags, values: Float32Array.from(segment.samples) });
      }
    } catch (error) {
      if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error; // the minute fills as samples arrive
    }
  }

  /** Draw the minute before `head`, with the onsets of `alarms`. */
  draw(head, alarms) {
    const { width, height } = fit(this.node);
    const buffer = this.#patient.waves.get(this.#channel?.code);
    if (width === 0 || !buffer) return;
    const context = this.node.getContext('2d');
    const start = head - SPAN_MS;
    const x = (t) => ((t - start) * width) / SPAN_MS;
    const zero = buffer.median(head - 10000, head);
    const y = (value) => height / 2 - ((value - zero) * height) / SCALE_UV;
    context.fillStyle = 'rgba(150, 160, 175, 0.16)';
    for (const [from, to] of buffer.gaps(start, head)) context.fillRect(x(from), 0, x(to) - x(from), height);
    for (const block of buffer.touching(start, head)) envelope(context, block, { start, head, x, y });
    for (const alarm of alarms) {
      const at = x(fromJson(alarm.onset_ns));
      if (at < 0 || at > width) continue;
      context.fillStyle = COLOUR[alarm.priority];
      context.fillRect(at, 0, 2, height);
      context.font = '600 11px system-ui, sans-serif';
      const left = Math.min(at + 6, width - context.measureText(titleOf(alarm)).width - 6);
      context.fillStyle = 'rgba(6, 11, 14, 0.85)';
      context.fillRect(left - 3, 1, context.measureText(titleOf(alarm)).width + 6, 14);
      context.fillStyle = COLOUR[alarm.priority];
      context.fillText(titleOf(alarm), left, 12);
    }
  }
}

/** Lowest and highest sample of each pixel, joined: nothing that is narrower than a pixel is lost. */
function envelope(context, block, { start, head, x, y }) {
  const dt = 1000 / block.rate;
  const first = Math.max(0, Math.ceil((start - block.t0) / dt));
  const last = Math.min(block.values.length, Math.floor((Math.min(head, blockEnd(block)) - block.t0) / dt));
  context.beginPath();
  let column = -1;
  let low = 0;
  let high = 0;
  for (let i = first; i < last; i += 1) {
    const value = block.values[i] * block.scale;
    const at = Math.floor(x(block.t0 + i * dt));
    if (at === column) {
      low = Math.min(low, value);
      high = Math.max(high, value);
      continue;
    }
    if (column >= 0) {
      context.lineTo(column + 0.5, y(high));
      context.lineTo(column + 0.5, y(low) + 0.6);
    }
    [column, low, high] = [at, value, value];
  }
  context.strokeStyle = block.flags & LEAD_OFF ? '#a98545' : '#31c774';
  context.lineWidth = 1;
  context.stroke();
}
