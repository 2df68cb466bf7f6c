// Wav files, read by hand: decodeAudioData resamples, and scales integers otherwise than libsndfile.

/** A file that is no wav that can be read; the message is for the person who chose it. */
export class WavError extends Error {}

const PCM = 1, FLOAT = 3, EXTENSIBLE = 0xfffe;
const UNKNOWN = 0xfffff000; // bytes: a file of that size has no room for its header
const READERS = { // by kind and bits: how a sample is read; full scale is 1
  [`${PCM}/8`]: (view, at) => (view.getUint8(at) - 128) / 128,
  [`${PCM}/16`]: (view, at) => view.getInt16(at, true) / 32768,
  [`${PCM}/24`]: (view, at) =>
    ((view.getUint16(at, true) << 8 | view.getInt8(at + 2) << 24) >> 8) / 8388608,
  [`${PCM}/32`]: (view, at) => view.getInt32(at, true) / 2147483648,
  [`${FLOAT}/32`]: (view, at) => view.getFloat32(at, true),
  [`${FLOAT}/64`]: (view, at) => view.getFloat64(at, true),
};

/**
 * What a wav file holds.
 * @param {ArrayBuffer} buffer its bytes
 * @returns {{rate: number, channels: number, length: number, encoding: string,
 *   channel: (i: number) => Float32Array}} rate in Hz; length in samples of a channel
 * @throws {WavError} it is no wav, ends before its samples, or has an encoding that is not read here
 */
export function parse(buffer) {
  const view = new DataView(buffer);
  const word = at => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 12 || word(0) !== "RIFF" || word(8) !== "WAVE")
    throw new WavError("not a wav file");
  let format = null, data = null;
  for (let at = 12; at + 8 <= buffer.byteLength && !data;) {
    const name = word(at), size = view.getUint32(at + 4, true);
    if (name === "fmt " && at + 24 <= buffer.byteLength) format = formatOf(view, at + 8, size);
    // A recorder that was cut off leaves 0 or all ones as the size: what is there counts.
    const unknown = size === 0 || size >= UNKNOWN;
    if (name === "data") data = { at: at + 8, size: unknown ? buffer.byteLength - at - 8 : size };
    at += 8 + size + size % 2;
  }
  if (!format || !data) throw new WavError("a damaged wav file: it holds no sound");
  const read = READERS[`${format.kind}/${format.bits}`];
  if (!read)
    throw new WavError(`a wav file of an encoding (${format.kind}, ${format.bits} bits) ` +
      "that this page cannot read");
  const step = format.channels * format.bits / 8;
  if (!format.channels || !format.rate) throw new WavError("a damaged wav file: no channel, no rate");
  const there = buffer.byteLength - data.at;
  if (there < data.size)
    throw new WavError(`a wav file that ends early: its header promises ${data.size} bytes of samples, ${there} are there`);
  const length = Math.floor(data.size / step);
  if (!length) throw new WavError("a wav file without sound");
  const channel = i => {
    const samples = new Float32Array(length); // full scale is 1
    for (let n = 0, at = data.at + i * format.bits / 8; n < length; n++, at += step)
      samples[n] = read(view, at);
    return samples;
  };
  const encoding = `${format.bits} bit${format.kind === FLOAT ? " float" : ""}`;
  return { rate: format.rate, channels: format.channels, length, encoding, channel };
}

function formatOf(view, at, size) {
  const kind = view.getUint16(at, true), bits = view.getUint16(at + 14, true);
  const inner = kind === EXTENSIBLE && size >= 26 && at + 26 <= view.byteLength;
  return {
    kind: inner ? view.getUint16(at + 24, true) : kind, // the first bytes of the sub-format
    channels: view.getUint16(at + 2, true), rate: view.getUint32(at + 4, true), bits,
  };
}

/**
 * Samples as a wav file of one channel and 16 bits.
 * @param {Float32Array} samples full scale is 1; beyond it they are cut
 * @param {number} rate Hz
 * @returns {ArrayBuffer}
 */
export function encode(samples, rate) {
  const buffer = new ArrayBuffer(44 + 2 * samples.length), view = new DataView(buffer);
  const put = (at, text) => [...text].forEach((one, i) => view.setUint8(at + i, one.charCodeAt(0)));
  put(0, "RIFF"), view.setUint32(4, 36 + 2 * samples.length, true), put(8, "WAVEfmt ");
  view.setUint32(16, 16, true), view.setUint16(20, PCM, true), view.setUint16(22, 1, true);
  view.setUint32(24, rate, true), view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true), view.setUint16(34, 16, true);
  put(36, "data"), view.setUint32(40, 2 * samples.length, true);
  samples.forEach((one, i) =>
    view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(one * 32768))), true));
  return buffer;
}
