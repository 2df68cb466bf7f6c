// The service's answers.

const ROOT = new URL("../", import.meta.url);
const PATIENCE = 60000; // ms for an answer

/** What went wrong at the service, for the person at the page; `status` is 0 where none answered. */
export class ServiceError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function ask(path, token, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { ...options, headers, signal: AbortSignal.timeout(PATIENCE) });
  } catch (error) {
    throw new ServiceError(error.name === "TimeoutError"
      ? "The service has not answered for a minute; try again, or a shorter recording."
      : "The service cannot be reached; see that it runs and that this device is on its network.");
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const detail = typeof body?.detail === "string" ? body.detail : `it answers ${answer.status}`;
  const hint = answer.status === 401 || answer.status === 403
    ? " Enter the access token under Settings." : "";
  throw new ServiceError(`The service refuses: ${detail}.${hint}`.replace("..", "."), answer.status);
}

/** The models that the service has; see apps/server/README.md. */
export const models = token => ask("models", token);

/**
 * What the service says of a recording.
 * @param {Blob} recording
 * @param {string | null} machineType null: the service has only one
 */
export function infer(recording, name, machineType, token) {
  const body = new FormData();
  body.append("file", recording, name);
  const query = machineType ? `?machine_type=${encodeURIComponent(machineType)}` : "";
  return ask(`inference${query}`, token, { method: "POST", body });
}
