// Pictures: values by time and band on a canvas, scores on a chart.

const PALETTES = { // of matplotlib, at even steps; readable in grey as well
  magma: "000003 0a0722 1c1046 350f6a 50127b 691c80 822581 9c2e7f b63679 ce4070 e55063 f4685b fb8660 fda470 fec286 fddfa1 fbfcbf",
  viridis: "440154 47186a 472c7b 424085 3a528b 32628d 2c728e 26818e 20908c 1e9e88 27ad80 3dbb74 5bc862 81d34c aadb32 d4e11a fde724",
};
const MOST_COLUMNS = 800; // of a picture; frames beyond are averaged

/** A number with as many digits as are of use. */
export function digits(value) {
  if (!Number.isFinite(value)) return "none";
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4)));
}

/** A frequency with its unit. */
export const hertz = value => value >= 1000 ? `${Number((value / 1000).toPrecision(2))} kHz` : `${Math.round(value)} Hz`;

function palette(name) {
  const steps = PALETTES[name].split(" ").map(one => [0, 2, 4].map(at => parseInt(one.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, i) => {
    const at = i / 255 * (steps.length - 1), low = Math.min(Math.floor(at), steps.length - 2);
    return steps[low].map((one, c) => Math.round(one + (steps[low + 1][c] - one) * (at - low)));
  });
}

const COLOURS = { magma: palette("magma"), viridis: palette("viridis") };

/** The value below which a share of the numbers lies. */
export function quantile(values, share) {
  const step = Math.ceil(values.length / 50000), some = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) some.push(values[i]);
  some.sort((a, b) => a - b);
  return some.length ? some[Math.min(some.length - 1, Math.floor(share * some.length))] : 0;
}

const element = (name, className, text) => {
  const one = document.createElement(name);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
};

/**
 * Draws values by time and band into a figure: a canvas with axes, and what is marked on it.
 * @param {HTMLElement} figure its `.plot` is filled anew
 * @param {{values: Float32Array, count: number, size: number, low: number, high: number,
 *   palette: string, unit: string, seconds: number[], edges_hz: number[], heard?: number[],
 *   worst?: object, label: string}} what values frame-major; seconds of begin and end; heard: of
 *   what is scored
 */
export function heatMap(figure, what) {
  const plot = figure.querySelector(".plot");
  const picture = element("div", "picture");
  picture.setAttribute("role", "img"), picture.setAttribute("aria-label", what.label);
  picture.append(canvasOf(what));
  const [begin, end] = what.seconds, length = end - begin || 1;
  const across = second => Math.max(0, Math.min(100, 100 * (second - begin) / length));
  if (what.heard) {
    for (const [from, to] of [[begin, what.heard[0]], [what.heard[1], end]]) {
      if (to - from > 0.005 * length) {
        const veil = element("div", "veil");
        veil.style.left = `${across(from)}%`, veil.style.width = `${across(to) - across(from)}%`;
        picture.append(veil);
      }
    }
  }
  const up = hz => 100 * bandOf(hz, what.edges_hz) / what.size;
  if (what.worst) {
    const { band_hz: [low, high], seconds: [from, to] } = what.worst, mark = element("div", "mark");
    if (to > begin && from < end) {
      Object.assign(mark.style, { left: `${across(from)}%`, width: `${across(to) - across(from)}%`,
                                  bottom: `${up(low)}%`, height: `${up(high) - up(low)}%` });
      picture.append(mark);
    }
  }
  const left = element("div", "left"), below = element("div", "below");
  for (const hz of [125, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000]) {
    if (hz < what.edges_hz[1] || hz > what.edges_hz.at(-1) * 1.001) continue;
    if (hz < 1000 && hz !== 500) continue; // bands are narrow there: texts would meet
    const tick = element("span", "", hertz(hz));
    tick.style.bottom = `${Math.min(up(hz), 100)}%`;
    left.append(tick);
  }
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800].find(one => length / one <= 6) ?? 3600;
  for (let t = Math.ceil(begin / step - 1e-9) * step; t <= end + 1e-9; t += step) {
    const tick = element("span", "", `${Number(t.toFixed(1))} s`);
    tick.style.left = `${across(t)}%`;
    if (across(t) > 95) tick.className = "last";
    below.append(tick);
  }
  plot.replaceChildren(left, picture, below, legend(what));
}

/** Where a frequency lies among the bands, which are equally high. */
function bandOf(hz, edges) {
  const at = edges.findIndex(one => one >= hz);
  if (at < 0) return edges.length - 2;
  if (at === 0) return 0;
  return Math.max(0, Math.min(edges.length - 2, at - 1 + (hz - edges[at - 1]) / (edges[at] - edges[at - 1]) - 0.5));
}

function canvasOf({ values, count, size, low, high, palette: name }) {
  const canvas = element("canvas"), columns = Math.min(count, MOST_COLUMNS);
  canvas.width = columns, canvas.height = size;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, size);
  const colours = COLOURS[name], scale = 255 / (high - low || 1);
  for (let x = 0; x < columns; x++) {
    const from = Math.floor(x * count / columns), to = Math.max(from + 1, Math.floor((x + 1) * count / columns));
    for (let m = 0; m < size; m++) {
      let sum = 0;
      for (let t = from; t < to; t++) sum += values[t * size + m];
      const at = 4 * ((size - 1 - m) * columns + x), value = sum / (to - from);
      if (value !== value) continue; // transparent: not scored
      const [r, g, b] = colours[Math.max(0, Math.min(255, Math.round((value - low) * scale)))];
      image.data[at] = r, image.data[at + 1] = g, image.data[at + 2] = b, image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function legend({ low, high, palette: name, unit }) {
  const one = element("div", "legend"), strip = element("canvas");
  strip.width = 256, strip.height = 1, strip.setAttribute("aria-hidden", "true");
  const context = strip.getContext("2d");
  COLOURS[name].forEach(([r, g, b], i) => {
    context.fillStyle = `rgb(${r},${g},${b})`, context.fillRect(i, 0, 1, 1);
  });
  one.append(element("span", "", `${Math.round(low)}`), strip, element("span", "", `${Math.round(high)} ${unit}`));
  return one;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, text) {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  if (text !== undefined) one.textContent = text;
  return one;
}

/**
 * A chart of scores in the order in which they came, and their threshold.
 * @param {HTMLElement} place filled anew, as wide as it is
 * @param {object[]} rows of a history, of one model
 */
export function scoreChart(place, rows, label) {
  const width = Math.max(place.clientWidth, 240), height = 190;
  const left = 46, right = 10, top = 12, bottom = 26;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const numbers = rows.flatMap(row => [row.score, row.threshold]).filter(Number.isFinite);
  const most = Math.max(...numbers), least = Math.min(...numbers), room = (most - least || most || 1) * 0.15;
  const low = Math.max(0, least - room), high = most + room;
  const x = i => left + (width - left - right) * (rows.length < 2 ? 0.5 : i / (rows.length - 1));
  const y = value => top + (height - top - bottom) * (1 - (value - low) / (high - low || 1));
  for (const value of ticks(low, high, 4)) {
    drawing.append(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }));
    drawing.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, digits(value)));
  }
  let from = 0; // of a stretch with one threshold
  rows.forEach((row, i) => {
    if (i + 1 < rows.length && rows[i + 1].threshold === row.threshold) return;
    if (Number.isFinite(row.threshold)) {
      const ends = rows.length === 1 ? [left, width - right] : [x(from), x(i)];
      drawing.append(svg("line", { x1: ends[0], x2: ends[1], y1: y(row.threshold), y2: y(row.threshold), class: "limit" }));
    }
    from = i + 1;
  });
  const points = rows.map((row, i) => `${x(i).toFixed(1)},${y(row.score).toFixed(1)}`);
  drawing.append(svg("polyline", { points: points.join(" "), class: "thin" }));
  rows.forEach((row, i) => drawing.append(mark(x(i), y(row.score), row)));
  const time = row => new Date(row.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  drawing.append(svg("text", { x: left, y: height - 6 }, rows.length > 1 ? time(rows[0]) : ""));
  drawing.append(svg("text", { x: width - right, y: height - 6, "text-anchor": "end" }, time(rows.at(-1))));
  place.replaceChildren(drawing);
}

function mark(x, y, row) {
  const one = row.anomalous // by form, not by colour alone
    ? svg("path", { d: `M${x - 5} ${y + 4}h10l-5 -9z`, class: "anomalous" })
    : svg("circle", { cx: x, cy: y, r: 3.5, class: row.anomalous === null ? "training" : "normal" });
  one.append(svg("title", {}, `${row.name}: ${digits(row.score)}`));
  return one;
}

function ticks(low, high, about) {
  const rough = (high - low || 1) / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(one => one * power).find(one => one >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
  return found;
}
