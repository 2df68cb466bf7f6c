// The model in the page: model.wasm, and what model.json says of it.

import { LogMel } from "./features.js";

/** Lets the browser draw and answer in between, in the background, too. */
export const pause = () => new Promise(done => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => (port1.close(), done());
  port2.postMessage(0);
});

/**
 * The model that lies beside this file.
 * @returns {Promise<Model | null>} null where the operator made none
 * @throws {Error} a file is damaged, or the two do not belong together
 */
export async function load() {
  const answer = await fetch(new URL("model.json", import.meta.url), { cache: "no-cache" });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`model.json: the service answers ${answer.status}`);
  const settings = await answer.json();
  const module = await fetch(new URL("model.wasm", import.meta.url), { cache: "no-cache" });
  if (!module.ok) throw new Error("model.wasm is missing; the operator makes it again");
  const bytes = await module.arrayBuffer();
  if (crypto.subtle) { // only where the page came by https or from this machine
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const text = Array.from(hash, one => one.toString(16).padStart(2, "0")).join("");
    if (text !== settings.wasm_sha256)
      throw new Error("model.wasm is not the one that model.json describes; the operator makes both again");
  }
  return new Model(settings, (await WebAssembly.instantiate(bytes)).instance.exports);
}

/** Windows in, reconstruction errors out. */
export class Model {
  constructor(settings, exports) {
    Object.assign(this, { settings, exports });
    this.logMel = new LogMel(settings.feature, settings.mel.bands);
    const { buffer } = exports.memory, inputs = exports.page_inputs(), outputs = exports.page_outputs();
    this.values = new Float32Array(buffer, exports.page_values(), inputs); // dB
    this.input = new Int8Array(buffer, exports.page_input(), inputs);
    this.output = new Int8Array(buffer, exports.page_output(), outputs);
    const { scale, zero_point: zero } = settings.output;
    this.levels = Float32Array.from({ length: 256 }, (_, i) => // of an output byte, dB
      Math.fround((i - 128 - zero) * Math.fround(scale)));
  }

  /**
   * The error of one window.
   * @param {Float32Array} frames frame-major, dB
   * @param {number} at where the window begins in it
   * @param {Float64Array} sums of squared errors by frame and band, from `at` on; added to
   * @returns {number} mean squared error, dB^2
   */
  window(frames, at, sums) {
    const { values, output, levels } = this, size = values.length;
    values.set(frames.subarray(at, at + size));
    this.exports.page_quantise();
    this.exports.page_run();
    let sum = 0;
    for (let i = 0; i < size; i++) {
      const error = Math.fround(values[i] - levels[output[i] + 128]);
      const square = Math.fround(error * error);
      sum += square, sums[at + i] += square;
    }
    return sum / size;
  }

  /**
   * The score of the frames [first, end) of a clip, and its error by frame and band.
   * @returns {Promise<{score: number, errors: Float32Array}>} dB^2; errors frame-major, of all
   *   frames, NaN where none was scored
   */
  async score(values, count, first, end) {
    const { n_mels: size, frames: n } = this.settings.feature, sums = new Float64Array(count * size);
    let total = 0;
    for (let t = first; t + n <= end; t++) {
      total += this.window(values, t * size, sums);
      if ((t - first) % 200 === 199) await pause();
    }
    return { score: total / (end - first - n + 1), errors: means(sums, count, size, first, end, n) };
  }
}

/** Mean errors by frame and band: a frame lies in up to n windows. */
export function means(sums, count, size, first, end, n) {
  const errors = new Float32Array(count * size).fill(NaN);
  for (let t = first; t < end; t++) {
    const windows = Math.min(t, end - n) - Math.max(t - n + 1, first) + 1;
    for (let m = 0; m < size; m++) errors[t * size + m] = sums[t * size + m] / windows;
  }
  return errors;
}

const BANDS = 8, SECONDS = 0.5; // of the place that is named as the worst

/**
 * Where the error is largest against that of the training clips in the same band, where that is
 * known: neighbouring bands, about half a second.
 * @returns {{band_hz: number[], seconds: number[]} | null}
 */
export function worst(errors, count, settings, startSeconds = 0) {
  const { n_mels: size, hop_length: hop, sample_rate: rate } = settings.feature;
  const wide = Math.min(count, Math.max(1, Math.round(SECONDS * rate / hop))), high = Math.min(BANDS, size);
  const at = frame => startSeconds + frame * hop / rate, step = Math.max(1, wide >> 2);
  const usual = settings.band_errors ?? new Array(size).fill(1);
  let most = -1, place = null;
  for (let t = 0; t + wide <= count; t += step) {
    for (let m = 0; m + high <= size; m += Math.max(1, high >> 1)) {
      let sum = 0; // not a number where some of it was not scored
      for (let i = t; i < t + wide; i++) for (let j = m; j < m + high; j++)
        sum += errors[i * size + j] / Math.max(usual[j], 1e-30);
      if (sum > most) {
        most = sum;
        place = { band_hz: [settings.mel.edges_hz[m], settings.mel.edges_hz[m + high + 1]],
                  seconds: [at(t), at(t + wide)] };
      }
    }
  }
  return place;
}
