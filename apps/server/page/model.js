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
   * @param {Float64Array} bands the window's mean squared error by band, written
   * @returns {number} mean squared error, dB^2
   */
  window(frames, at, sums, bands) {
    const { values, output, levels } = this, size = values.length;
    const { n_mels: count, frames: n } = this.settings.feature;
    bands.fill(0);
    values.set(frames.subarray(at, at + size));
    this.exports.page_quantise();
    this.exports.page_run();
    let sum = 0;
    for (let i = 0; i < size; i++) {
      const error = Math.fround(values[i] - levels[output[i] + 128]);
      const square = Math.fround(error * error);
      sum += square, sums[at + i] += square, bands[i % count] += square / n;
    }
    return sum / size;
  }

  /**
   * The score of the frames [first, end) of a clip, and its error by frame and band.
   * @returns {Promise<{score: number, errors: Float32Array, place: object | null}>} dB^2; errors
   *   frame-major, of all frames, NaN where none was scored; where it is the worst
   */
  async score(values, count, first, end) {
    const { n_mels: size, frames: n } = this.settings.feature, sums = new Float64Array(count * size);
    const windows = end - first - n + 1, bands = new Float64Array(windows * size);
    let total = 0;
    for (let t = first; t + n <= end; t++) {
      const own = bands.subarray((t - first) * size, (t - first + 1) * size);
      total += this.window(values, t * size, sums, own);
      if ((t - first) % 200 === 199) await pause();
    }
    return { score: total / windows, errors: means(sums, count, size, first, end, n),
             place: worst(bands, windows, this.settings, first) };
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
 * known: neighbouring bands, about half a second. The same place as the service names.
 * @param {Float64Array} bands mean squared errors of windows by band, window-major, dB^2
 * @param {number} windows how many
 * @param {number} first frame of the clip, with which the first window begins
 * @returns {{band_hz: number[], seconds: number[]} | null}
 */
export function worst(bands, windows, settings, first) {
  const { n_mels: size, frames: n, hop_length: hop, sample_rate: rate } = settings.feature;
  const usual = settings.band_errors ?? new Array(size).fill(1), row = size + 1;
  const sums = new Float64Array((windows + 1) * row); // of all before a window and a band
  for (let t = 0; t < windows; t++) for (let m = 0; m < size; m++) {
    const ratio = bands[t * size + m] / Math.max(usual[m], 1e-37);
    sums[(t + 1) * row + m + 1] = ratio + sums[t * row + m + 1] + sums[(t + 1) * row + m] - sums[t * row + m];
  }
  const tall = Math.min(Math.max(Math.round(SECONDS * rate / hop) - n + 1, 1), windows);
  const wide = Math.min(BANDS, size);
  let most = -Infinity, place = null;
  for (let t = 0; t + tall <= windows; t++) for (let m = 0; m + wide <= size; m++) {
    const a = t * row + m, b = a + tall * row, sum = sums[b + wide] - sums[a + wide] - sums[b] + sums[a];
    if (sum > most) most = sum, place = [t, m];
  }
  if (!place) return null;
  const [t, m] = place, { edges_hz: edges } = settings.mel;
  return { band_hz: [edges[m], edges[m + wide + 1]],
           seconds: [first + t, first + t + tall + n - 1].map(frame => frame * hop / rate) };
}
