// The microphone, and what listens to it all the time.

import { Resampler } from "./features.js";
import { means, worst } from "./model.js";
import { Unusable, unlike } from "./score.js";

const REASONS = {
  NotAllowedError: "The browser may not use the microphone: allow it at the lock beside the address, and try again.",
  NotFoundError: "No microphone was found: plug one in, and try again.",
  NotReadableError: "The microphone is used by another program: close that, and try again.",
};

/** A microphone that runs, without what telephony does to sound. */
export class Microphone {
  /**
   * @param {string} device its id; "" for the one that the browser chooses
   * @param {(samples: Float32Array) => void} take called with each piece
   * @param {() => void} ended called when it is unplugged
   * @throws {Unusable} there is none, or it may not be used
   */
  static async open(device, take, ended) {
    if (!navigator.mediaDevices) throw new Unusable("The microphone works only where the page came " +
      "by https, or from this device (localhost): ask the operator for https.");
    const one = new Microphone();
    const exact = device ? { deviceId: { exact: device } } : {};
    try {
      one.stream = await navigator.mediaDevices.getUserMedia({ audio: {
        ...exact, echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1,
      } });
    } catch (error) {
      throw new Unusable(REASONS[error.name] ?? `The microphone does not run: ${error.message}.`);
    }
    try {
      one.context = new AudioContext();
      await one.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
      one.tap = new AudioWorkletNode(one.context, "tap", { numberOfOutputs: 0 });
      one.tap.port.onmessage = ({ data }) => one.stream && take(data);
      one.context.createMediaStreamSource(one.stream).connect(one.tap);
      await one.context.resume();
      const [track] = one.stream.getAudioTracks();
      track.onended = ended;
      one.rate = one.context.sampleRate, one.label = track.label;
      // Some browsers alter the sound all the same, and say so.
      const { echoCancellation: echo, noiseSuppression: noise, autoGainControl: gain } = track.getSettings();
      one.altered = echo === true || noise === true || gain === true;
      one.wake = await navigator.wakeLock?.request("screen").catch(() => null);
    } catch (error) {
      one.close();
      throw new Unusable(`The microphone does not run: ${error.message}.`);
    }
    return one;
  }

  close() {
    this.stream?.getTracks().forEach(track => track.stop());
    this.stream = null;
    this.context?.close();
    this.wake?.release();
  }
}

/** The loudness of a piece of sound, dB below full scale. */
export function loudness(samples) {
  let sum = 0;
  for (const one of samples) sum += one * one;
  return 10 * Math.log10(sum / samples.length + 1e-12);
}

/** Sound of the microphone, scored a stretch after the other, by the model in the page. */
export class Stretches {
  /** @param {(score: object) => void} done called with score, worst and seconds of each stretch */
  constructor(model, rate, done) {
    Object.assign(this, { model, done });
    const { settings } = model, { feature } = settings;
    this.resampler = new Resampler(rate, feature.sample_rate);
    this.size = feature.n_mels, this.length = settings.stretch_frames;
    this.samples = new Float32Array(0), this.finished = 0;
    // The last stretch and the one at hand, (2 * length, n_mels), frame-major.
    this.values = new Float32Array(2 * this.length * this.size).fill(NaN);
    this.errors = new Float32Array(2 * this.length * this.size).fill(NaN);
    this.begin();
  }

  begin() {
    this.count = 0, this.total = 0;
    this.bands = new Float64Array(this.length * this.size); // of windows
    this.sums = new Float64Array(this.length * this.size);
  }

  get seconds() {
    const { hop_length: hop, sample_rate: rate } = this.model.settings.feature;
    return hop / rate;
  }

  push(samples) {
    const more = this.resampler.push(samples), { feature } = this.model.settings;
    const all = new Float32Array(this.samples.length + more.length);
    all.set(this.samples), all.set(more, this.samples.length);
    let at = 0;
    for (; at + feature.n_fft <= all.length; at += feature.hop_length) this.frame(all, at);
    this.samples = all.slice(Math.min(at, all.length));
  }

  frame(samples, at) {
    const { size, length, model } = this, n = model.settings.feature.frames;
    model.logMel.frame(samples, at, this.values, (length + this.count) * size);
    this.count += 1;
    if (this.count >= n) {
      const window = this.values.subarray(length * size);
      const first = this.count - n, own = this.bands.subarray(first * size, (first + 1) * size);
      this.total += model.window(window, first * size, this.sums, own);
    }
    if (this.count === length) this.finish();
  }

  finish() {
    const { size, length, model } = this, n = model.settings.feature.frames;
    this.errors.set(means(this.sums, length, size, 0, length, n), length * size);
    const place = worst(this.bands, length - n + 1, model.settings, this.finished * length);
    this.finished += 1;
    this.values.copyWithin(0, length * size), this.values.fill(NaN, length * size);
    this.errors.copyWithin(0, length * size), this.errors.fill(NaN, length * size);
    const score = this.total / (length - n + 1);
    const warnings = unlike(this.values.subarray(0, length * size), model.settings);
    this.begin();
    this.done({ score, worst: place, seconds: length * this.seconds, warnings });
  }

  /** What there is to draw: the last stretch and what has come of the next. */
  pictures() {
    const { size, length, count, model: { settings } } = this, n = settings.feature.frames;
    if (count >= n) this.errors.set(means(this.sums, count, size, 0, count, n), length * size);
    const begin = (this.finished - 1) * length * this.seconds;
    return { values: this.values, errors: this.errors, count: 2 * length, begin, heard: null, settings };
  }
}
