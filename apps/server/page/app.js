// The page: what is chosen, dropped, recorded or listened to goes to a model; what it says is shown.

import { History, csv } from "./history.js";
import { Microphone, Stretches, loudness } from "./listen.js";
import { load } from "./model.js";
import { Unusable, byService, common, inPage } from "./score.js";
import * as service from "./service.js";
import { say, showAlarms, showFacts, showHistory, showPictures, showVerdict, verdict } from "./show.js";
import { WavError, parse } from "./wav.js";

const CLIP_SECONDS = 10, MOST_BYTES = 200 * 2 ** 20, DRAW_MS = 400;
const DISPLAYED = "sound-"; // before the names of settings that the browser keeps
const by = id => document.getElementById(id);

let model = null; // in the page
let machines = []; // of the service
let history = null;
let running = null; // what uses the microphone, or the files at hand: {stop}

const token = () => by("token").value.trim();
const scored = () => document.querySelector("input[name=scored]:checked")?.value ?? "server";
const state = text => { by("state").textContent = text || "\u00a0"; };

function problem(error) {
  if (error && !(error instanceof Unusable) && !(error instanceof service.ServiceError)) console.warn(error);
  by("problem").hidden = !error, by("problem").textContent = error ? error.message : "";
}

/** The service's machine type that is chosen; `asked` where there are several to choose from. */
function machine() {
  const one = machines.find(each => each.machine_type === by("machine").value) ?? machines[0] ?? null;
  return one && { ...one, asked: machines.length > 1 ? one.machine_type : null };
}

/** The settings that clips are cut and drawn by. */
function settings() {
  return scored() === "page" ? model?.settings : model?.settings.sha256 === machine()?.sha256 ? model?.settings : null;
}

function clipSeconds() {
  const feature = settings()?.feature ?? machine()?.feature;
  if (!feature?.central_frames) return CLIP_SECONDS;
  return Math.ceil(10 * feature.central_frames[1] * feature.hop_length / feature.sample_rate) / 10;
}

/** Seconds of a stretch of listening. */
function stretchSeconds() {
  const own = scored() === "page" && model?.settings;
  return own ? own.stretch_frames * own.feature.hop_length / own.feature.sample_rate : clipSeconds();
}

function refresh() {
  const ready = scored() === "page" ? model !== null : machines.length > 0;
  for (const id of ["record", "live"]) by(id).disabled = !ready || running !== null;
  by("file").disabled = !ready;
  by("scored").disabled = running !== null;
  by("machine").disabled = scored() === "page" || machines.length < 2; // the page has one model
  by("stop").hidden = running === null;
  by("record").textContent = `Record ${clipSeconds()} s`;
  by("model").textContent = describe(ready);
  showFacts(facts());
}

function describe(ready) {
  if (!ready && !machines.length && !model) return "Neither the service nor a model in this page can be reached.";
  const name = scored() === "page" ? model?.settings.machine_type : machine()?.machine_type;
  const where = scored() === "page" ? "listens in this page; no sound leaves this device" : "listens at the service";
  return name ? `The model of ${name} ${where}.` : "The service has no model.";
}

function facts() {
  const one = scored() === "page" ? model?.settings : machine();
  if (!one) return [];
  const threshold = one.threshold === null || one.threshold === undefined ? "none" : String(one.threshold);
  const rows = [["Machine type", one.machine_type], ["Threshold", threshold],
                ["How it was set", one.threshold_how ?? "each verdict says it"], ["SHA-256 of the model", one.sha256]];
  const { feature } = one;
  if (feature) rows.push(["Features", `${feature.n_mels} mel bands at ${feature.sample_rate} Hz, windows of ` +
    `${feature.frames} frames, one every ${(1000 * feature.hop_length / feature.sample_rate).toFixed(0)} ms`]);
  rows.push(["Score", "mean squared difference between sound and what the model makes of it, dB²"]);
  const other = machine();
  if (model && other && scored() === "page" && other.sha256 !== model.settings.sha256)
    rows.push(["Mind", `the service has another model (${other.machine_type}); the operator makes the page's again`]);
  return rows;
}

/** A file as a clip; one that is no wav keeps the reason. */
async function clipOf(file) {
  const clip = { name: file.name, source: "file", file, samples: null, rate: 0, channels: 0, notes: [] };
  if (file.size > MOST_BYTES) throw new Unusable(`${file.name}: ${Math.round(file.size / 2 ** 20)} MB is ` +
    "too large for this page; cut it into clips.");
  try {
    const wav = parse(await file.arrayBuffer()), wanted = settings()?.feature ?? machine()?.feature;
    const channel = wav.channels === 1 ? 0 : wanted?.channel ?? 0;
    if (channel >= wav.channels) {
      clip.reason = `it has ${wav.channels} channels, and the model listens to number ${channel + 1}`;
      return clip;
    }
    if (wav.channels > 1) clip.notes.push(`channel ${channel + 1} of ${wav.channels} was taken`);
    Object.assign(clip, { samples: wav.channel(channel), rate: wav.rate, channels: wav.channels });
  } catch (error) {
    if (!(error instanceof WavError)) throw error;
    clip.reason = `it is ${error.message}; this page reads whole wav files only: let the service ` +
      "listen, or choose a wav file";
  }
  return clip;
}

/** Scores a clip, shows it and keeps it. */
async function hear(clip, session = null) {
  const one = scored() === "page" ? await inPage(clip, model) : await byService(clip, machine(), model, token());
  if (session) Object.assign(one.row, session);
  await keep(one.row);
  showPictures(one.pictures, one.row.worst);
}

async function keep(row) {
  await history.add(row);
  showVerdict(row), showHistory(history);
  if (!row.session) say(`${row.name}: ${verdict(row)}`);
}

function play(file) {
  URL.revokeObjectURL(by("player").src);
  by("player").hidden = !file;
  if (file) by("player").src = URL.createObjectURL(file);
  else by("player").removeAttribute("src");
}

async function hearFiles(files) {
  if (by("file").disabled || !files.length) return;
  if (running) return problem(new Unusable("It listens already: stop that first."));
  let stopped = false;
  const failures = [];
  running = { stop: () => { stopped = true; } };
  problem(null), play(null), refresh();
  let heardLast = null;
  for (const [i, file] of files.entries()) {
    if (stopped) break;
    state(files.length > 1 ? `Listening to ${i + 1} of ${files.length}: ${file.name} …` : `Listening to ${file.name} …`);
    try {
      await hear(await clipOf(file));
      heardLast = file;
    } catch (error) {
      if (!error.message.startsWith(file.name)) error.message = `${file.name}: ${error.message}`;
      failures.push(error);
    }
  }
  done(), play(heardLast);
  if (failures.length) {
    const more = failures.length > 1 ? ` (and ${failures.length - 1} more recordings without a score)` : "";
    problem(Object.assign(failures[0], { message: failures[0].message + more }));
  }
}

function done() {
  running = null;
  by("sound").hidden = true;
  state(""), refresh();
}

/** Opens the microphone and says what it is; null, said, where that fails. */
async function microphone(take) {
  problem(null), play(null);
  state("Waiting for the microphone …");
  running = { stop: () => {} }, refresh();
  try {
    const one = await Microphone.open(by("microphone").value, samples => {
      meter(samples), take(samples);
    }, () => {
      stop(), problem(new Unusable("The microphone has gone; plug it in, and start again."));
    });
    by("sound").hidden = false;
    if (one.altered) problem(new Unusable("This browser alters the microphone's sound (as for telephony): " +
      "scores mean little. Use another browser."));
    await listMicrophones();
    return one;
  } catch (error) {
    done(), problem(error);
    return null;
  }
}

let metered = 0;
function meter(samples) {
  const now = performance.now();
  if (now - metered < 100) return;
  metered = now;
  const level = loudness(samples);
  by("level").value = Math.max(-80, level);
  by("level-text").textContent = level < -100 ? "silence" : `${level.toFixed(0)} dB`;
}

async function listMicrophones() {
  const chosen = by("microphone").value, all = await navigator.mediaDevices.enumerateDevices();
  const [first] = by("microphone").options;
  by("microphone").replaceChildren(first, ...all.filter(one => one.kind === "audioinput" && one.deviceId
    && one.deviceId !== "default").map(one => new Option(one.label || "microphone", one.deviceId)));
  by("microphone").value = [...by("microphone").options].some(one => one.value === chosen) ? chosen : "";
}

/** Gathers pieces of sound until there are so many samples. */
class Gathered {
  constructor() {
    this.pieces = [], this.length = 0;
  }

  add(samples) {
    this.pieces.push(samples), this.length += samples.length;
  }

  /** The first samples; the rest stays. */
  take(count) {
    const all = new Float32Array(this.length);
    let at = 0;
    for (const one of this.pieces) all.set(one, at), at += one.length;
    this.pieces = [all.slice(count)], this.length -= count;
    return all.slice(0, count);
  }
}

const recorded = (samples, rate, source) => ({
  name: source === "live" ? "microphone" : `recorded at ${new Date().toLocaleTimeString()}`, source,
  file: null, samples, rate, channels: 1, notes: [],
});

async function record() {
  const sound = new Gathered(), seconds = clipSeconds();
  let one = null;
  one = await microphone(samples => {
    if (!one || !running) return;
    sound.add(samples);
    const needed = Math.ceil((seconds + 0.1) * one.rate); // a little more than is scored
    state(`Recording: ${Math.min(seconds, sound.length / one.rate).toFixed(1)} of ${seconds} s`);
    if (sound.length >= needed) one.close(), finish(sound.take(needed), one.rate);
  });
  if (one) running = { stop: () => { one.close(), done(); } }, by("stop").focus();
}

async function finish(samples, rate) {
  running = { stop: () => {} };
  state("Scoring …"), refresh();
  try {
    const clip = recorded(samples, rate, "recording");
    await hear(clip);
    done(), by("verdict").focus();
  } catch (error) {
    done(), problem(error);
  }
}

/** The rule of alarms as it stands in the settings. */
function rule() {
  const number = (id, least, most) => Math.max(least, Math.min(most, Math.round(by(id).valueAsNumber) || least));
  const n = number("n", 1, 99), k = number("k", 1, n);
  by("n").value = n, by("k").value = k;
  return { k, n };
}

async function live() {
  const session = { session: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`, rule: rule() };
  const listener = scored() === "page" ? listenHere(session) : listenByService(session);
  let one = null;
  one = await microphone(samples => one && running?.session && listener.take(samples, one));
  if (!one) return;
  const drawing = setInterval(() => listener.draw?.(), DRAW_MS);
  running = { session: session.session, stop: () => { clearInterval(drawing), one.close(), done(), raised(null), over(); } };
  const where = scored() === "page" ? "nothing is sent" : "each is sent to the service";
  state(`Listening with ${one.label || "the microphone"} at ${one.rate} Hz; a score every ${stretchSeconds().toFixed(1)} s, ${where}.`);
  say("Listening"), by("stop").focus();
}

/** Listening has ended: an alarm that was on is no longer said to go on. */
const over = () => { showAlarms(history, null), say("Listening has ended"); };

let last = null; // verdict and alarm that were said
function afterStretch(row) {
  if (running?.session !== row.session) return;
  const alarm = showAlarms(history, row.session), said = `${verdict(row)}${alarm ? ", alarm" : ""}`;
  raised(alarm);
  if (said !== last) say(said);
  last = said;
}

function raised(alarm) {
  document.title = alarm ? "ALARM: sounds unusual" : "Does the machine sound as it should?";
  by("alarm").hidden = !alarm;
  const text = alarm ? `Alarm: at least ${alarm.rule.k} of the last ${alarm.rule.n} scores were unusual, since ` +
    `${new Date(alarm.from).toLocaleTimeString()}.` : "";
  if (by("alarm").textContent !== text) by("alarm").textContent = text;
}

/** Listening by the model in the page. */
function listenHere(session) {
  let stretches = null, framed = null, notes = [];
  const { settings: own } = model;
  const finished = async ({ score, worst, seconds, warnings }) => {
    const clip = recorded(null, 0, "live");
    framed = worst;
    const row = { ...common(clip, own), ...session, scored: "page", score, threshold: own.threshold,
      anomalous: own.threshold === null ? null : score > own.threshold, worst, seconds,
      rate_hz: stretches.rate, changed: notes, warnings, message: "",
      false_alarm_rate: own.false_alarm_rate, how: own.threshold_how };
    await keep(row), afterStretch(row);
  };
  return {
    take(samples, { rate }) {
      if (!stretches) {
        stretches = new Stretches(model, rate, finished), stretches.rate = rate;
        const wanted = own.feature.sample_rate;
        if (rate !== wanted) notes = [`resampled from ${rate} Hz to ${wanted} Hz in this page`];
      }
      stretches.push(samples);
    },
    draw: () => stretches && showPictures(stretches.pictures(), framed),
  };
}

/** Listening by clips that are sent to the service. */
function listenByService(session) {
  const sound = new Gathered(), seconds = stretchSeconds();
  let busy = false;
  return {
    async take(samples, { rate }) {
      sound.add(samples);
      const needed = Math.ceil((seconds + 0.1) * rate);
      if (sound.length < needed) return;
      const clip = recorded(sound.take(needed), rate, "live");
      if (busy) return problem(new Unusable("The service is slower than the sound: a stretch was left out."));
      busy = true;
      try {
        await hear(clip, session);
        problem(null), afterStretch(history.rows.at(-1));
      } catch (error) {
        if (running) problem(error);
      } finally {
        busy = false;
      }
    },
  };
}

function stop() {
  running?.stop();
}

function save() {
  const url = URL.createObjectURL(new Blob([csv(history.rows)], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: "scores.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  say("Saved as scores.csv");
}

async function forget() {
  if (!confirm(`Forget ${history.rows.length} scores and their alarms?`)) return;
  await history.clear();
  showHistory(history), showAlarms(history, null), say("All scores are forgotten");
}

/** Keeps a setting in this browser, and brings it back; not the token, which is a secret. */
function remembered(id) {
  try {
    const value = localStorage.getItem(DISPLAYED + id);
    if (value) by(id).value = value;
    by(id).addEventListener("change", () => localStorage.setItem(DISPLAYED + id, by(id).value));
  } catch { /* a browser that keeps nothing */ }
}

function listeners() {
  by("file").addEventListener("change", async ({ target }) => {
    await hearFiles([...target.files]);
    target.value = ""; // the same file again is a change, too
  });
  by("record").addEventListener("click", record), by("live").addEventListener("click", live);
  by("stop").addEventListener("click", () => { stop(), by(by("live").disabled ? "verdict" : "live").focus(); });
  by("export").addEventListener("click", save), by("clear").addEventListener("click", forget);
  by("scored").addEventListener("change", async () => {
    problem(null);
    if (scored() === "server" && !machines.length) await findMachines();
    refresh();
  });
  by("machine").addEventListener("change", refresh);
  by("token-form").addEventListener("submit", event => { event.preventDefault(), by("token").blur(); });
  by("token").addEventListener("change", async () => {
    problem(null);
    await findMachines();
    refresh();
  });
  for (const id of ["k", "n"]) by(id).addEventListener("change", rule);
  const over = on => document.body.classList.toggle("over", on);
  document.addEventListener("dragover", event => { event.preventDefault(), over(true); });
  document.addEventListener("dragleave", event => { if (!event.relatedTarget) over(false); });
  document.addEventListener("drop", event => {
    event.preventDefault(), over(false);
    hearFiles([...event.dataTransfer.files]);
  });
  addEventListener("resize", () => showHistory(history));
}

async function findMachines() {
  try {
    machines = await service.models(token());
  } catch (error) {
    machines = [];
    if (!model || scored() === "server") problem(error); // else nobody needs the service
  }
  by("machine").replaceChildren(...machines.map(one => new Option(one.machine_type)));
}

async function start() {
  history = await History.open();
  showHistory(history), showAlarms(history, null);
  try {
    model = await load();
  } catch (error) {
    problem(error);
  }
  const own = document.querySelector("input[value=page]");
  own.disabled = !model;
  (model ? own : document.querySelector("input[value=server]")).checked = true;
  await findMachines();
  if (!model) own.parentElement.append(" (the operator has not made its model)");
  if (model) by("k").value = model.settings.rule.k, by("n").value = model.settings.rule.n;
  ["k", "n", "machine", "microphone"].forEach(remembered);
  listeners(), refresh();
  document.documentElement.dataset.ready = "yes";
}

start().catch(problem);
