// What was heard, kept in this browser; alarms of it; CSV.

const NAME = "sound-history", STORE = "scores", MOST = 20000; // rows; a day of stretches of 6.4 s is 13,500

const asked = request => new Promise((done, fail) => {
  request.onsuccess = () => done(request.result), request.onerror = () => fail(request.error);
});

/** Rows in the order in which they came; in memory only where the browser keeps nothing. */
export class History {
  /** @returns {Promise<History>} */
  static async open() {
    const one = new History();
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () =>
        request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
      one.database = await asked(request);
      one.rows = await asked(one.store("readonly").getAll());
    } catch {
      one.database = null;
    }
    return one;
  }

  constructor() {
    this.rows = [], this.database = null;
  }

  /** Whether rows are still there after the page is closed. */
  get isKept() {
    return this.database !== null;
  }

  store(mode) {
    return this.database.transaction(STORE, mode).objectStore(STORE);
  }

  async add(row) {
    this.rows.push(row);
    const dropped = this.rows.splice(0, Math.max(0, this.rows.length - MOST));
    if (!this.database) return;
    try {
      const store = this.store("readwrite");
      row.id = await asked(store.add(row));
      for (const old of dropped) if (old.id) this.store("readwrite").delete(old.id);
    } catch { // the disk is full, or the person has forbidden it
      this.database = null;
    }
  }

  async clear() {
    this.rows = [];
    if (this.database) await asked(this.store("readwrite").clear());
  }
}

/**
 * Alarms: at least k of the last n stretches of a time of listening were above the threshold.
 * @param {object[]} rows of a history; those with a `session` count, each by its own `rule`
 * @returns {{session: string, from: string, to: string | null, stretches: number, highest: number,
 *   machine_type: string, rule: {k: number, n: number}, worst: object | null}[]} `to` is null while
 *   the alarm lasts, that of a past time of listening included: nobody knows how it went on
 */
export function alarms(rows) {
  const found = [], sessions = new Map();
  for (const row of rows.filter(one => one.session)) {
    const heard = sessions.get(row.session) ?? { last: [], alarm: null };
    sessions.set(row.session, heard);
    heard.last = [...heard.last, row].slice(-row.rule.n);
    const above = heard.last.filter(one => one.anomalous);
    if (above.length < row.rule.k) {
      if (heard.alarm) heard.alarm.to = row.time;
      heard.alarm = null;
      continue;
    }
    if (!heard.alarm) {
      heard.alarm = { session: row.session, from: row.time, to: null, stretches: 0, highest: -Infinity,
                      machine_type: row.machine_type, rule: row.rule, worst: null };
      found.push(heard.alarm);
    }
    const taken = heard.alarm.stretches ? [row] : above; // those before it that raised it, too
    heard.alarm.stretches += 1;
    for (const one of taken) {
      if (one.score > heard.alarm.highest) heard.alarm.highest = one.score, heard.alarm.worst = one.worst;
    }
  }
  return found;
}

const COLUMNS = {
  time: row => row.time, source: row => row.source, name: row => row.name,
  machine_type: row => row.machine_type, model_sha256: row => row.sha256, scored_by: row => row.scored,
  score: row => row.score, threshold: row => row.threshold,
  verdict: row => row.anomalous === null ? "" : row.anomalous ? "unusual" : "normal",
  worst_low_hz: row => row.worst?.band_hz[0], worst_high_hz: row => row.worst?.band_hz[1],
  worst_from_seconds: row => row.worst?.seconds[0], worst_to_seconds: row => row.worst?.seconds[1],
  seconds: row => row.seconds, rate_hz: row => row.rate_hz,
  session: row => row.session, alarm: (row, raised) => raised.has(row) ? "alarm" : "",
  notes: row => [...row.changed, ...row.warnings].join("; "),
};

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet takes a text that begins so for a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** All rows as CSV with a header, lines ended by a newline; numbers with all their digits. */
export function csv(rows) {
  const raised = new Set();
  for (const { session, from, to } of alarms(rows)) {
    for (const row of rows) {
      if (row.session === session && row.time >= from && (!to || row.time < to)) raised.add(row);
    }
  }
  const lines = rows.map(row => Object.values(COLUMNS).map(of => cell(of(row, raised))).join(","));
  return [Object.keys(COLUMNS).join(","), ...lines, ""].join("\n");
}
