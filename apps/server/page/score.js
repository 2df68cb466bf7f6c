// From a clip to what is said of it: by the model in the page, or by the service.

import { LogMel, melBands, resampled } from "./features.js";
import { pause } from "./model.js";
import * as service from "./service.js";
import { encode } from "./wav.js";

const TOO_LOUD = 10, FULL_SCALE = 32767 / 32768; // as in common.py

/** Why a recording has no score; the message is for the person at the page. */
export class Unusable extends Error {}

/**
 * A clip: its samples where this page could read it, its bytes where there is a file.
 * @typedef {{name: string, source: string, samples: Float32Array | null, rate: number,
 *   channels: number, file: Blob | null, reason?: string, notes: string[]}} Clip
 */

/** Seconds as a text. */
const text = seconds => `${Number(seconds.toFixed(1))} s`;

/** The log-mel frames of a clip at the model's rate, and what had to be changed or is odd. */
export async function heard(clip, feature, bands) {
  const changed = [...clip.notes], warnings = [];
  const { peak, clipped } = look(clip.samples);
  if (peak > TOO_LOUD)
    throw new Unusable(`${clip.name}: samples up to ${peak.toPrecision(3)} where full scale is 1; ` +
      "divide integers in a float file by 32768");
  if (peak === 0) throw new Unusable(`${clip.name}: digital silence; check the microphone and its cable.`);
  if (clipped > 0.001) warnings.push(`${(100 * clipped).toFixed(1)} % of the samples are at full ` +
    "scale: the recording is too loud for its recorder");
  let samples = clip.samples;
  if (clip.rate !== feature.sample_rate) {
    samples = await resampled(samples, clip.rate, feature.sample_rate, pause);
    changed.push(`resampled from ${clip.rate} Hz to ${feature.sample_rate} Hz in this page`);
    if (clip.rate < feature.sample_rate) warnings.push(`recorded at ${clip.rate} Hz: nothing above ` +
      `${clip.rate / 2} Hz was recorded, and the model expects it`);
  }
  const frames = await new LogMel(feature, bands).clip(samples, pause);
  return { ...frames, changed, warnings, length: samples.length };
}

function look(samples) {
  let peak = 0, clipped = 0;
  for (const one of samples) {
    const size = Math.abs(one);
    if (!(size <= peak)) peak = size; // not a number, too
    if (size >= FULL_SCALE) clipped++;
    if (size !== size) throw new Unusable("the recording holds samples that are not numbers");
  }
  return { peak, clipped: clipped / samples.length };
}

const LOUDER_DB = 3; // than any training clip, or quieter: half or twice the power

/** What is odd about the level of frames: the mean of their values, against the training clips'. */
export function unlike(values, { level_db: range }) {
  if (!range) return [];
  const level = values.reduce((sum, one) => sum + one, 0) / values.length, [low, high] = range;
  if (level >= low - LOUDER_DB && level <= high + LOUDER_DB) return [];
  const [how, by] = level < low ? ["quieter", low - level] : ["louder", level - high];
  return [`${by.toFixed(0)} dB ${how} than any training clip: the score may tell of the microphone, not of the machine`];
}

/** A row of the history, and the pictures, of a clip that the model in the page scores. */
export async function inPage(clip, model) {
  const { settings } = model, { feature } = settings;
  if (!clip.samples) throw new Unusable(`${clip.name}: ${clip.reason}.`);
  const { values, count, changed, warnings, length } = await heard(clip, feature, settings.mel.bands);
  const seconds = length / feature.sample_rate, at = frame => frame * feature.hop_length / feature.sample_rate;
  const [first, end] = feature.central_frames ?? [0, count];
  if (count < end || count < feature.frames)
    throw new Unusable(`${clip.name}: ${text(seconds)} is too short; the model needs ` +
      `${text(at(Math.max(end, feature.frames)))}.`);
  if (count > end || first > 0)
    changed.push(`scored from ${text(at(first))} to ${text(at(end))}, as in training`);
  warnings.push(...unlike(values.subarray(first * feature.n_mels, end * feature.n_mels), settings));
  const { score, errors, place } = await model.score(values, count, first, end);
  const row = {
    ...common(clip, settings), scored: "page", score, threshold: settings.threshold,
    anomalous: settings.threshold === null ? null : score > settings.threshold, worst: place,
    seconds, rate_hz: clip.rate, changed, warnings, message: "",
    false_alarm_rate: settings.false_alarm_rate, how: settings.threshold_how,
  };
  return { row, pictures: { values, errors, count, begin: 0, heard: [at(first), at(end)], settings } };
}

/** The columns that do not depend on who scores. */
export const common = (clip, { machine_type, sha256 }) => ({
  time: new Date().toISOString(), source: clip.source, name: clip.name, machine_type, sha256,
  session: null, rule: null,
});

/** The same of a clip that the service scores; pictures are still made here, where they can be. */
export async function byService(clip, machine, model, token) {
  const file = clip.file ?? new Blob([encode(clip.samples, clip.rate)], { type: "audio/wav" });
  const said = await service.infer(file, clip.name, machine?.asked ?? null, token);
  const row = {
    ...common(clip, said.model), scored: "server", score: said.score, threshold: said.threshold,
    anomalous: said.Anomaly, worst: said.worst ?? null, seconds: said.seconds, rate_hz: said.rate_hz,
    changed: said.changed ?? [], warnings: said.warnings ?? [], message: said.Details?.Message ?? "",
    false_alarm_rate: said.false_alarm_rate, how: said.threshold_how,
  };
  return { row, pictures: await picturesBeside(clip, said, machine, model) };
}

async function picturesBeside(clip, said, machine, model) {
  if (!clip.samples) return null;
  const same = model?.settings.sha256 === said.model.sha256;
  const feature = same ? model.settings.feature : machine?.feature;
  if (!feature || feature.n_fft & (feature.n_fft - 1)) return null;
  const mel = same ? model.settings.mel : melBands(feature);
  const { values, count } = await heard(clip, feature, mel.bands);
  const [first, end] = feature.central_frames ?? [0, count];
  const at = frame => frame * feature.hop_length / feature.sample_rate;
  const errors = same && count >= end ? (await model.score(values, count, first, end)).errors : null;
  const settings = same ? model.settings : { feature, mel, threshold: said.threshold };
  return { values, errors, count, begin: 0, heard: [at(first), at(end)], settings };
}
