// Verdict, pictures, history and alarms as parts of the page.

import { alarms } from "./history.js";
import { digits, heatMap, hertz, quantile, scoreChart } from "./pictures.js";

const MOST_POINTS = 120, MOST_LINES = 50; // of the chart; of the table
const by = id => document.getElementById(id);

/** An element with a text or others in it. */
export function element(name, className, ...inside) {
  const one = document.createElement(name);
  if (className) one.className = className;
  one.append(...inside);
  return one;
}

/** Says something to those who cannot see the page. */
export function say(text) {
  by("said").textContent = text;
}

/** Where and when, as a text. */
export function place(worst) {
  if (!worst) return "";
  const [low, high] = worst.band_hz, [from, to] = worst.seconds;
  return `${hertz(low)} to ${hertz(high)}, at ${from.toFixed(1)} to ${to.toFixed(1)} s`;
}

/** The verdict in two words. */
export function verdict(row) {
  if (row.anomalous === null) return "No threshold";
  return row.anomalous ? "Sounds unusual" : "Sounds normal";
}

function gauge({ score, threshold }) {
  const most = 1.25 * Math.max(score, threshold ?? 0), one = element("div", "gauge");
  const fill = element("div", threshold !== null && score > threshold ? "fill over" : "fill");
  fill.style.width = `${100 * score / most}%`;
  one.append(fill);
  if (threshold !== null) {
    const limit = element("div", "threshold", element("span", "", "threshold"));
    limit.style.left = `${100 * threshold / most}%`;
    one.append(limit);
  }
  one.setAttribute("role", "img");
  one.setAttribute("aria-label", `score ${digits(score)}, threshold ${threshold === null ? "none" : digits(threshold)}`);
  return one;
}

const percent = share => `${Number((100 * share).toPrecision(2))} %`;

function sureness({ false_alarm_rate: rate, anomalous }) {
  if (!rate || anomalous === null) return [];
  const between = Number.isFinite(rate.low) && Number.isFinite(rate.high)
    ? ` (${percent(rate.low)} to ${percent(rate.high)})` : "";
  return [element("p", "note", `Of recordings of a healthy machine, about ${percent(rate.nominal)}${between} ` +
    "are called unusual, too: one unusual recording is a reason to record again.")];
}

/** Shows what is said of a clip or a stretch. */
export function showVerdict(row) {
  const about = [`${row.name}, ${row.seconds.toFixed(1)} s`,
                 row.scored === "page" ? "heard in this page" : "heard by the service"].join("; ");
  const tone = row.anomalous === null ? "large" : row.anomalous ? "large bad" : "large good";
  const against = row.threshold === null ? "; the model has no threshold, so there is no verdict"
    : `; above ${digits(row.threshold)} a sound is called unusual`;
  const parts = [
    element("p", tone, verdict(row)),
    element("p", "name", about),
    gauge(row),
    element("p", "", `Score ${digits(row.score)}${against}.`),
  ];
  if (row.message) parts.push(element("p", "", `The service says: ${row.message}`));
  if (row.worst) parts.push(element("p", "", `It differs most from what the model has learnt in ${place(row.worst)}.`));
  for (const warning of row.warnings) parts.push(element("p", "warning", `Mind: ${warning}.`));
  if (row.changed.length) parts.push(element("p", "note", `Done to the sound: ${row.changed.join("; ")}.`));
  if (row.source !== "file") parts.push(element("p", "note", "Another microphone or place than that of the " +
    "training recordings can sound unusual by itself: listen to a healthy machine first."));
  by("verdict").replaceChildren(...parts, ...sureness(row));
}

/** Shows sound and error by time and band; `worst` is marked on both. */
export function showPictures(pictures, place_) {
  by("pictures").hidden = pictures === null;
  if (!pictures) return;
  const { values, errors, count, begin, heard, settings } = pictures, { feature, mel } = settings;
  const seconds = [begin, begin + count * feature.hop_length / feature.sample_rate];
  const shared = { count, size: feature.n_mels, seconds, edges_hz: mel.edges_hz, heard, worst: place_ };
  const where = place_ ? `; framed: ${place(place_)}` : "";
  const low = quantile(values, 0.02), high = Math.max(quantile(values, 0.998), low + 1);
  heatMap(by("level-figure"), { ...shared, values, low, high, palette: "magma", unit: "dB",
    label: `Log-mel picture of ${(seconds[1] - seconds[0]).toFixed(1)} s of sound${where}` });
  by("error-figure").hidden = errors === null;
  if (errors) {
    const bright = Math.max(quantile(errors, 0.995), 2 * (settings.threshold ?? 0), 1e-6);
    heatMap(by("error-figure"), { ...shared, values: errors, low: 0, high: bright, palette: "viridis",
      unit: "dB²", label: `Picture of the error by time and band${where}` });
  }
  const parts = [];
  if (place_) parts.push("The frame shows where the sound differs most.");
  if (heard && (heard[0] > 0 || heard[1] < seconds[1]))
    parts.push(`Only what lies between ${heard[0].toFixed(1)} s and ${heard[1].toFixed(1)} s is scored.`);
  if (!errors) parts.push("The picture of what is unusual needs the service's model in this page.");
  by("legend").textContent = parts.join(" ");
}

/** Shows chart and table of a history; points of the model that was used last. */
export function showHistory(history) {
  const { rows } = history, last = rows.at(-1);
  for (const id of ["export", "clear"]) by(id).disabled = !last;
  for (const id of ["history-scroll", "key"]) by(id).hidden = !last;
  const kept = history.isKept ? "They are kept in this browser only."
    : "This browser keeps nothing: they are gone when the page is closed.";
  if (!last) {
    by("history-note").textContent = `None yet. ${kept}`;
    by("chart").replaceChildren(), by("rows").replaceChildren();
    return;
  }
  const alike = rows.filter(row => row.sha256 === last.sha256).slice(-MOST_POINTS);
  const unusual = alike.filter(row => row.anomalous).length;
  by("history-note").textContent = `${rows.length} so far. ${kept} Higher is more unusual; the chart has ` +
    `the last ${alike.length} of ${last.machine_type}.`;
  scoreChart(by("chart"), alike, `The last ${alike.length} scores of ${last.machine_type}, ${unusual} of ` +
    `them above the threshold; the last ${digits(last.score)}. The table below has the numbers.`);
  by("rows").replaceChildren(...rows.slice(-MOST_LINES).reverse().map(line));
}

const when = time => new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
const number = value => element("td", "number", value === null ? "" : digits(value));

function line(row) {
  const tone = row.anomalous ? "bad" : row.anomalous === false ? "good" : "";
  return element("tr", "", element("td", "", when(row.time)), element("td", "name", row.name),
    element("td", tone, row.anomalous === null ? "" : row.anomalous ? "unusual" : "normal"),
    number(row.score), number(row.threshold), element("td", "", place(row.worst)));
}

/** Shows the log of alarms; returns the one that lasts in a session, if there is one. */
export function showAlarms(history, session) {
  const found = alarms(history.rows);
  by("alarms-scroll").hidden = !found.length;
  by("alarms-note").textContent = found.length ? `${found.length} in all, the last one first.`
    : "None. Alarms come while the page listens all the time: at several unusual scores among the last few.";
  by("alarm-rows").replaceChildren(...found.slice(-MOST_LINES).reverse().map(one =>
    element("tr", "", element("td", "", when(one.from)),
      element("td", one.to ? "" : "bad", one.to ? when(one.to) : one.session === session ? "goes on" : "end of listening"),
      element("td", "name", one.machine_type), element("td", "", `${one.rule.k} of ${one.rule.n}`),
      number(one.highest), element("td", "", place(one.worst)))));
  return found.find(one => one.session === session && !one.to) ?? null;
}

/** Shows a list of facts. */
export function showFacts(facts) {
  by("facts").replaceChildren(...facts.map(([key, value]) =>
    element("div", "", element("dt", "", key), element("dd", "", value))));
}
