// What this page knows of one wearable: waveforms, numbers, beats, link, and how far behind its display runs.

import { HISTORY, UNSYNCHRONISED, WaveBuffer, blockEnd } from './waves.js';
import { fromJson } from './time.js';

const LATE_WINDOW_MS = 20000;
const MARGIN_MS = 200;
const LONGEST_DELAY_MS = 12000;
const SLEW = 0.06; // the display may run this much faster or slower than time to keep its distance
const AHEAD_MS = 60000; // data from further in the future is the word of a wrong clock
const TREND_MS = 900000;
const MOST_BEATS = 400;
const MOST_SCORES = 1500;

export class Patient {
  waves = new Map();
  vitals = new Map();
  trend = new Map();
  beats = [];
  scores = [];
  heardWave = null; // server time at which waveform last came
  unsynchronised = false;
  #ahead = null;
  link = null;
  news2 = null;
  #late = [];
  #delay = null;
  #drawnAt = null;

  constructor(view, now) {
    this.update(view, now);
  }

  /** Take what a (new) birth says. */
  update(view, now = Infinity) {
    this.name = view.device;
    this.gateway = view.gateway;
    this.simulated = view.simulated;
    this.paced = view.paced;
    this.channels = view.channels;
    for (const channel of view.channels) {
      if (channel.rate_hz !== null && !this.waves.has(channel.code)) this.waves.set(channel.code, new WaveBuffer());
    }
    if (view.link) this.link = view.link;
    this.news2 = view.news2;
    this.addVitals(view.vitals, now);
  }

  /** Waveform channels, ECG leads first. */
  get waveChannels() {
    return this.channels.filter((channel) => channel.rate_hz !== null);
  }

  /** Add a block that arrived at `now`; returns the pieces that were new. */
  addWave(block, now) {
    const buffer = this.waves.get(block.code);
    if (!buffer || this.#fromFuture(block.t0, now)) return [];
    const live = (block.flags & HISTORY) === 0 && blockEnd(block) > buffer.end;
    const pieces = buffer.insert(block);
    this.heardWave = now;
    if (live && pieces.length > 0) {
      this.unsynchronised = (block.flags & UNSYNCHRONISED) !== 0;
      // The head must not pass this block's end before the next one, as long as this, arrives as late as this.
      const length = Math.min((block.values.length * 1000) / block.rate, 4000);
      this.#late.push({ at: now, ms: now - blockEnd(block) + length });
      while (now - this.#late[0].at > LATE_WINDOW_MS) this.#late.shift();
    }
    return pieces;
  }

  /** Time that is to be drawn now; runs evenly, `delay` behind the server's clock. */
  head(now) {
    const worst = this.#late.reduce((most, late) => Math.max(most, late.ms), -Infinity);
    const wanted = Number.isFinite(worst) ? Math.min(Math.max(worst + MARGIN_MS, -LONGEST_DELAY_MS), LONGEST_DELAY_MS) : 2000;
    if (this.#delay === null || Math.abs(wanted - this.#delay) > 2000) {
      this.#delay = wanted;
    } else {
      const step = SLEW * Math.max(0, now - (this.#drawnAt ?? now));
      this.#delay += Math.min(step, Math.max(-step, wanted - this.#delay));
    }
    this.#drawnAt = now;
    return now - this.#delay;
  }

  get delayMs() {
    return this.#delay ?? 0;
  }

  /** Keep the newest of each number, and all of them for the trend. */
  addVitals(points, now) {
    for (const point of points) {
      const t = fromJson(point.time_ns);
      if (this.#fromFuture(t, now)) continue;
      const known = this.vitals.get(point.code);
      if (!known || known.t <= t) this.vitals.set(point.code, { ...point, t });
      if (point.value !== null) this.#addTrend(point.code, t, point.value);
    }
  }

  #fromFuture(t, now) {
    if (t - now <= AHEAD_MS) return false;
    this.#ahead = { at: now, ms: t - now };
    return true;
  }

  /** How far ahead of the server the clock of this patient's data runs; 0 while it is right. */
  aheadMs(now) {
    return this.#ahead !== null && now - this.#ahead.at < AHEAD_MS ? this.#ahead.ms : 0;
  }

  #addTrend(code, t, value) {
    if (!this.trend.has(code)) this.trend.set(code, []);
    const points = this.trend.get(code);
    let at = points.length;
    while (at > 0 && points[at - 1].t > t) at -= 1;
    if (at > 0 && points[at - 1].t === t) return;
    points.splice(at, 0, { t, value });
    while (points.length > 0 && points[0].t < points.at(-1).t - TREND_MS) points.shift();
  }

  /** Keep beats (out of JSON) in order of time; returns those that were new, as `{t, wide}`. */
  addBeats(found) {
    const fresh = found.map((beat) => ({ t: fromJson(beat.r_ns), wide: beat.wide }))
      .filter((beat) => !this.beats.some((known) => Math.abs(known.t - beat.t) < 1));
    this.beats = [...this.beats, ...fresh].sort((a, b) => a.t - b.t).slice(-MOST_BEATS);
    return fresh;
  }

  /** Keep scores (out of JSON) in order of time, one a beat. */
  addScores(found) {
    const fresh = found.map((score) => ({ ...score, t: fromJson(score.r_ns) }))
      .filter((score) => !this.scores.some((known) => Math.abs(known.t - score.t) < 1));
    if (fresh.length > 0) this.scores = [...this.scores, ...fresh].sort((a, b) => a.t - b.t).slice(-MOST_SCORES);
  }

  /** Take the score that `gateway` tells, or null for none; a gateway that the wearable left has no say about the next. */
  addNews2(gateway, score) {
    if (this.news2 !== null && this.news2.gateway !== gateway && (score === null || score.at_ns < this.news2.at_ns)) return;
    this.news2 = score;
  }

  addLink(link) {
    this.link = {
      ...link,
      battery_percent: link.battery_percent ?? this.link?.battery_percent ?? null,
      quality: link.quality ?? this.link?.quality ?? null,
    };
  }
}
