// From samples to log-mel frames, as common.py has them; and from one rate to another.

const EPS = Math.fround(2.220446049250313e-16); // what common.log_mel adds before the logarithm

/** Complex Fourier transforms of a length that is a power of 2, in place, float64. */
class Fourier {
  constructor(n) {
    this.n = n;
    this.cos = new Float64Array(n / 2 || 1), this.sin = new Float64Array(n / 2 || 1);
    for (let i = 0; i < n / 2; i++) {
      this.cos[i] = Math.cos(2 * Math.PI * i / n), this.sin[i] = Math.sin(2 * Math.PI * i / n);
    }
    this.turned = new Uint32Array(n); // indices with their bits in reverse order
    for (let i = 1; i < n; i++) this.turned[i] = this.turned[i >> 1] >> 1 | (i & 1 ? n >> 1 : 0);
  }

  run(re, im) {
    const { n, cos, sin, turned } = this;
    for (let i = 0; i < n; i++) {
      const j = turned[i];
      if (j > i) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
    }
    for (let half = 1; half < n; half *= 2) {
      const step = n / (2 * half);
      for (let first = 0; first < n; first += 2 * half) {
        for (let k = 0, w = 0; k < half; k++, w += step) {
          const a = first + k, b = a + half;
          const x = re[b] * cos[w] + im[b] * sin[w], y = im[b] * cos[w] - re[b] * sin[w];
          re[b] = re[a] - x, im[b] = im[a] - y, re[a] += x, im[a] += y;
        }
      }
    }
  }
}

/** Log-mel frames by the settings `feature` of a model and its mel bands; see `melBands`. */
export class LogMel {
  constructor(feature, bands) {
    const n = feature.n_fft, half = n / 2;
    if (n & (n - 1)) throw new Error(`n_fft ${n}: this page needs a power of 2`);
    Object.assign(this, { feature, bands, size: bands.length });
    this.window = Float64Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / n));
    this.fourier = new Fourier(half); // of even and odd samples as real and imaginary parts
    this.re = new Float64Array(half), this.im = new Float64Array(half);
    this.turn = Float64Array.from({ length: half + 1 }, (_, k) => 2 * Math.PI * k / n);
    this.cos = this.turn.map(Math.cos), this.sin = this.turn.map(Math.sin);
    this.energy = new Float32Array(half + 1);
  }

  /** One frame of the samples from `at` on, dB, into `out` from `into` on. */
  frame(samples, at, out, into) {
    const { window, re, im, energy, bands, feature: { n_fft: n, power } } = this, half = n / 2;
    for (let i = 0; i < half; i++) {
      re[i] = samples[at + 2 * i] * window[2 * i], im[i] = samples[at + 2 * i + 1] * window[2 * i + 1];
    }
    this.fourier.run(re, im);
    for (let k = 0; k <= half; k++) {
      const a = k % half, b = (half - k) % half;
      const evenRe = (re[a] + re[b]) / 2, evenIm = (im[a] - im[b]) / 2;
      const oddRe = (im[a] + im[b]) / 2, oddIm = (re[b] - re[a]) / 2;
      const x = evenRe + oddRe * this.cos[k] + oddIm * this.sin[k];
      const y = evenIm + oddIm * this.cos[k] - oddRe * this.sin[k];
      energy[k] = power === 2 ? x * x + y * y : (x * x + y * y) ** (power / 2);
    }
    const factor = Math.fround(20 / power);
    for (let m = 0; m < bands.length; m++) {
      const { first, weights } = bands[m];
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * energy[first + i];
      const level = Math.fround(Math.log10(Math.fround(Math.fround(sum) + EPS)));
      out[into + m] = Math.fround(level * factor);
    }
  }

  /**
   * All frames of a clip, with zeros around it as common.read_clip puts them.
   * @param {Float32Array} samples full scale is 1
   * @returns {Promise<{values: Float32Array, count: number}>} frame-major, dB
   */
  async clip(samples, pause) {
    const { n_fft: n, hop_length: hop } = this.feature, side = n >> 1;
    const padded = new Float32Array(samples.length + 2 * side);
    padded.set(samples, side);
    const count = 1 + Math.floor((padded.length - n) / hop);
    const values = new Float32Array(count * this.size);
    for (let t = 0; t < count; t++) {
      this.frame(padded, t * hop, values, t * this.size);
      if (pause && t % 500 === 499) await pause();
    }
    return { values, count };
  }
}

const LINEAR = 200 / 3, BREAK = 1000, LOG_STEP = Math.log(6.4) / 27; // Slaney's mel scale

function melsOf(hz, scale) {
  if (scale === "htk") return 2595 * Math.log10(1 + hz / 700);
  return hz <= BREAK ? hz / LINEAR : BREAK / LINEAR + Math.log(hz / BREAK) / LOG_STEP;
}

function hzOf(mels, scale) {
  if (scale === "htk") return 700 * (10 ** (mels / 2595) - 1);
  return mels < BREAK / LINEAR ? mels * LINEAR : BREAK * Math.exp(LOG_STEP * (mels - BREAK / LINEAR));
}

/**
 * Mel bands of a model's settings, for pictures where there is no model.json.
 * @returns {{bands: {first: number, weights: number[]}[], edges_hz: number[]}} as model.json's `mel`
 */
export function melBands(feature) {
  const { n_mels: count, n_fft: n, sample_rate: rate, mel_scale: scale = "slaney" } = feature;
  const [low, high] = (feature.mel_range_hz ?? [0, rate / 2]).map(hz => melsOf(hz, scale));
  const edges = Array.from({ length: count + 2 }, (_, i) =>
    hzOf(low + (high - low) * i / (count + 1), scale));
  const bands = [];
  for (let m = 0; m < count; m++) {
    const [a, b, c] = edges.slice(m, m + 3), height = scale === "htk" ? 1 : 2 / (c - a);
    const weights = [];
    let first = 0;
    for (let k = 0; k <= n / 2; k++) {
      const hz = k * rate / n, value = Math.min((hz - a) / (b - a), (c - hz) / (c - b)) * height;
      if (value > 0 && !weights.length) first = k;
      if (value > 0) weights.push(Math.fround(value));
    }
    bands.push({ first, weights });
  }
  return { bands, edges_hz: edges };
}

// A low pass at the lower rate's half: flat to 1.7 % below it, half as high there, 100 dB down 1.7 %
// above it, as in a microphone's converter; one that ends below it would leave the highest bands
// empty, which a model takes for a fault. A sinc under Kaiser's window (Oppenheim and Schafer,
// Discrete-Time Signal Processing, 7.5).
const SIDE = 192, BETA = 10.06, MOST_PHASES = 2000;

function bessel(x) { // I0
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-18 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** Samples of one rate as samples of another, a piece at a time. */
export class Resampler {
  /** @throws {Error} rates whose ratio has too many phases */
  constructor(from, to) {
    const divisor = (a, b) => b ? divisor(b, a % b) : a;
    this.up = to / divisor(from, to), this.down = from / divisor(from, to);
    if (this.up > MOST_PHASES) throw new Error(`${from} Hz cannot be made ${to} Hz in this page`);
    const cutoff = Math.min(1, to / from); // of half the input's rate
    this.side = Math.ceil(SIDE / cutoff); // samples of the input on either side
    this.rows = Array.from({ length: this.up }, (_, phase) => {
      const row = new Float64Array(2 * this.side);
      for (let i = 0; i < row.length; i++) {
        const t = i - this.side + 1 - phase / this.up, at = t / this.side;
        const sinc = t === 0 ? 1 : Math.sin(Math.PI * cutoff * t) / (Math.PI * cutoff * t);
        row[i] = cutoff * sinc * bessel(BETA * Math.sqrt(Math.max(0, 1 - at * at))) / bessel(BETA);
      }
      const sum = row.reduce((a, b) => a + b);
      return row.map(one => one / sum);
    });
    this.kept = new Float32Array(this.side - 1), this.position = 0, this.given = 0, this.taken = 0;
  }

  /** What can be said of the samples so far. */
  push(samples) {
    if (this.up === this.down) return samples;
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept), all.set(samples, this.kept.length);
    this.taken += samples.length;
    const { rows, side, up, down } = this, out = [];
    let at = Math.floor(this.position / up);
    for (; at + 2 * side <= all.length; at = Math.floor(this.position / up)) {
      const row = rows[this.position % up];
      let sum = 0;
      for (let i = 0; i < row.length; i++) sum += row[i] * all[at + i];
      out.push(sum), this.position += down;
    }
    const used = Math.min(at, all.length);
    this.kept = all.slice(used), this.position -= used * up;
    this.given += out.length;
    return Float32Array.from(out);
  }

  /** The rest, when no more samples come: as many in all as the input lasts. */
  end() {
    if (this.up === this.down) return new Float32Array(0);
    const lacking = Math.ceil(this.taken * this.up / this.down) - this.given;
    return this.push(new Float32Array(this.side + 1 + this.down)).slice(0, lacking);
  }
}

/** A whole clip at another rate, a second of it after the other. */
export async function resampled(samples, from, to, pause) {
  if (from === to) return samples;
  const one = new Resampler(from, to), parts = [];
  for (let at = 0; at < samples.length; at += from) {
    parts.push(one.push(samples.subarray(at, at + from)));
    await pause();
  }
  parts.push(one.end());
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) all.set(part, at), at += part.length;
  return all;
}
