// hasten for pages and for Node (20.3 on): ask, paint an answer as it comes, follow runs and jobs, resume.
// One file, no dependencies. Events are those of docs/reference/http.md.

/** Why a request has no answer: problem details (RFC 9457). */
export class ProblemError extends Error {
  constructor(problem, response) {
    super(problem.detail ?? problem.title ?? `HTTP ${problem.status}`);
    this.name = "ProblemError";
    this.problem = problem;
    this.status = problem.status;
    this.reason = problem.reason;
    this.field = problem.field;
    const seconds = Number(response?.headers.get("retry-after") ?? problem.retry_after_s);
    this.retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : null;
  }
}

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;
const GIVEN_UP_AFTER_MS = 60_000;
// Codes of a socket that no other one would mend: what was said, who says it, and what they may.
const HOPELESS = new Set([4400, 4401, 4403]);
const FINAL = new Set(["completed", "error"]);

/**
 * A client of one edge.
 *
 * @param {object} options
 * @param {string} [options.url] where the edge is; empty is where the page came from
 * @param {string} [options.key] an API key or a token; a page of a signed-in user may need none
 * @param {typeof fetch} [options.fetch] what sends requests
 * @param {typeof WebSocket} [options.WebSocket] what opens sockets
 */
export class Hasten {
  constructor({ url = "", key = "", fetch = globalThis.fetch, WebSocket = globalThis.WebSocket } = {}) {
    this.url = url.replace(/\/$/, "");
    this.key = key;
    this._fetch = (...args) => fetch(...args);
    this._WebSocket = WebSocket;
    this.jobs = new Jobs(this);
  }

  /**
   * Ask a question; iterate over what comes, as `{id, event, data}`.
   *
   * A connection that breaks is taken up again where it broke, if the run is resumable (the default):
   * each event comes once. Leaving the loop, or aborting `signal`, leaves the answer; `stop()` ends it.
   */
  ask(question, { signal, resumable = true, ...fields } = {}) {
    const body = JSON.stringify({ question, resumable, ...fields });
    const begin = (_, inner) => this._stream("POST", "/v1/answers", { body, signal: inner });
    return new Run(this, "", 0, { begin, resumable, signal });
  }

  /** Follow a run from any event on. */
  run(runId, { after = 0, signal } = {}) {
    return new Run(this, runId, after, { resumable: true, signal });
  }

  /** Ask, and return the whole answer as one object. */
  async answer(question, { signal, ...fields } = {}) {
    return this._json("POST", "/v1/answers", { body: JSON.stringify({ question, ...fields }), signal });
  }

  /** Open a socket that follows many jobs and runs. */
  live() {
    return new Live(this);
  }

  async _send(method, path, { body, headers = {}, signal, accept = "application/json" } = {}) {
    const sent = { Accept: accept, ...headers };
    if (this.key) sent.Authorization = `Bearer ${this.key}`;
    if (body !== undefined) sent["Content-Type"] ??= "application/json";
    const response = await this._fetch(this.url + path, { method, headers: sent, body, signal, cache: "no-store" });
    if (response.ok || response.status === 304) return response;
    throw new ProblemError(await problemOf(response), response);
  }

  async _json(method, path, options) {
    const response = await this._send(method, path, options);
    return response.status === 204 || response.status === 304 ? null : response.json();
  }

  _stream(method, path, options) {
    return this._send(method, path, { ...options, accept: "text/event-stream" });
  }
}

async function problemOf(response) {
  try {
    return { status: response.status, ...(await response.json()) };
  } catch {
    return { status: response.status, title: response.statusText, reason: "UNKNOWN" };
  }
}

/** Events of one stream that outlives its connections; iterate over it once. */
class Followed {
  constructor(after, { signal } = {}) {
    this.lastId = after;
    this._signal = signal;
  }

  async *[Symbol.asyncIterator]() {
    const leaving = new AbortController();
    const signal = this._signal ? AbortSignal.any([this._signal, leaving.signal]) : leaving.signal;
    let waitMs = FIRST_WAIT_MS;
    let quietSince = Date.now();
    try {
      for (;;) {
        try {
          const response = await this._open(signal);
          if (response === null || response.status === 204) return;
          for await (const each of parse(response.body)) {
            quietSince = Date.now();
            waitMs = FIRST_WAIT_MS;
            if (each.id !== null) this.lastId = each.id;
            this._note(each);
            yield each;
            if (FINAL.has(each.event)) return;
          }
        } catch (error) {
          if (signal.aborted) throw error;
          if (error instanceof ProblemError && !this._mayComeBack(error)) throw error;
          if (!this._resumes() || Date.now() - quietSince > GIVEN_UP_AFTER_MS) throw error;
          waitMs = error.retryAfterMs ?? waitMs;
        }
        if (!this._resumes()) throw new TypeError("the stream ended without its last event");
        await pause(waitMs * (0.5 + Math.random() / 2), signal);
        waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
      }
    } finally {
      leaving.abort();
    }
  }

  _note() {}
  _resumes() {
    return true;
  }
  _mayComeBack(error) {
    return error.status === 429 || error.status === 502 || error.status === 503 || error.status === 504;
  }
}

/** An answer as it comes. */
class Run extends Followed {
  constructor(client, runId, after, { begin = null, resumable, signal }) {
    super(after, { signal });
    this._client = client;
    this._begin = begin;
    this._resumable = resumable;
    this.id = runId;
  }

  /** End the run, wherever it runs; false if it had ended. */
  async stop() {
    return (await this._client._json("POST", `/v1/runs/${this.id}/stop`)).stopping;
  }

  /** Judge the answer: `good` or `bad`; true if a stored answer was removed. */
  async feedback(verdict) {
    const body = JSON.stringify({ verdict });
    return (await this._client._json("POST", `/v1/runs/${this.id}/feedback`, { body })).removed;
  }

  _open(signal) {
    if (!this.id) return this._begin(this.lastId, signal);
    const headers = { "Last-Event-ID": String(this.lastId) };
    return this._client._stream("GET", `/v1/runs/${this.id}/events`, { headers, signal });
  }

  _note({ event, data }) {
    if (event === "plan") this.id = data.run_id;
  }

  // A question that was never heard of may be asked again; one that was is read on.
  _resumes() {
    return this._resumable && this.id !== "";
  }
}

/** Work that takes long. */
class Jobs {
  constructor(client) {
    this._client = client;
  }

  /** Submit a job; the same `idempotencyKey` twice is one job. */
  async submit(kind, input, { idempotencyKey = crypto.randomUUID(), resultTtlS } = {}) {
    const body = JSON.stringify({ kind, input, ...(resultTtlS === undefined ? {} : { result_ttl_s: resultTtlS }) });
    return this._client._json("POST", "/v1/jobs", { body, headers: { "Idempotency-Key": idempotencyKey } });
  }

  /** Return a job with its state, progress and result. */
  async get(jobId, { signal } = {}) {
    return this._client._json("GET", `/v1/jobs/${jobId}`, { signal });
  }

  /** Follow a job's events. */
  follow(jobId, { after = 0, signal } = {}) {
    const client = this._client;
    return new (class extends Followed {
      _open(inner) {
        const headers = { "Last-Event-ID": String(this.lastId) };
        return client._stream("GET", `/v1/jobs/${jobId}/events`, { headers, signal: inner });
      }
    })(after, { signal });
  }

  /** Wait for a job's end and return it; `onProgress` hears of every step, `onItem` of every part. */
  async wait(jobId, { onProgress = () => {}, onItem = () => {}, signal } = {}) {
    for await (const { event, data } of this.follow(jobId, { signal })) {
      if (event === "progress") onProgress(data);
      if (event === "item") onItem(data.key, data.value);
      if (event === "completed") return data;
      if (event === "error") throw new ProblemError(data);
    }
    return this.get(jobId, { signal });
  }

  /** Cancel a job, running or not. */
  async cancel(jobId) {
    return this._client._json("DELETE", `/v1/jobs/${jobId}`);
  }
}

/** One socket for many jobs and runs; comes back by itself, and misses nothing. */
class Live {
  constructor(client) {
    this._client = client;
    this._subjects = new Map();
    this._socket = null;
    this._closed = false;
    this._waitMs = FIRST_WAIT_MS;
  }

  /** Hear of a job or a run: `{job}` or `{run}`; returns what ends it. */
  subscribe(subject, listener, { after = 0 } = {}) {
    const name = nameOf(subject);
    this._subjects.set(name, { subject, listener, after });
    if (this._socket === null) this._connect();
    else if (this._socket.readyState === 1) this._say({ type: "subscribe", ...subject, after });
    return () => {
      if (this._subjects.delete(name) && this._socket?.readyState === 1) {
        this._say({ type: "unsubscribe", ...subject });
      }
    };
  }

  /** End it. */
  close() {
    this._closed = true;
    this._subjects.clear();
    this._socket?.close(1000);
  }

  _connect() {
    const base = this._client.url || globalThis.location.origin;
    const protocols = this._client.key ? ["hasten.v1", `hasten.key.${this._client.key}`] : ["hasten.v1"];
    const socket = new this._client._WebSocket(`${base.replace(/^http/, "ws")}/v1/ws`, protocols);
    this._socket = socket;
    let problem = null;
    socket.onopen = () => {
      for (const { subject, after } of this._subjects.values()) this._say({ type: "subscribe", ...subject, after });
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (isOfSocket(message)) problem = message.problem;
      else {
        // Not when it opens: who is not let in hears of it in a socket that is open.
        this._waitMs = FIRST_WAIT_MS;
        this._hear(message);
      }
    };
    socket.onclose = ({ code }) => {
      this._socket = null;
      if (HOPELESS.has(code)) this._giveUp(problem ?? { reason: "SOCKET_CLOSED", detail: `closed with ${code}` });
      const retryMs = (problem?.retry_after_s ?? 0) * 1000;
      if (this._closed || this._subjects.size === 0) return;
      setTimeout(() => this._closed || this._socket || this._connect(), Math.max(this._waitMs, retryMs));
      this._waitMs = Math.min(2 * this._waitMs, LONGEST_WAIT_MS);
    };
  }

  /** Tell all listeners why nothing more comes. */
  _giveUp(problem) {
    const known = [...this._subjects.values()];
    this._subjects.clear();
    for (const { listener } of known) listener({ id: null, event: "error", data: problem });
  }

  _say(message) {
    this._socket.send(JSON.stringify(message));
  }

  _hear(message) {
    const known = this._subjects.get(nameOf(message));
    if (known === undefined) return;
    // A run that died is told anew from its beginning.
    if (message.event === "revised" && message.data.reason === "RUN_INTERRUPTED") known.after = 0;
    if (message.type === "event" && (message.event === "revised" || message.id > known.after)) {
      known.after = Math.max(known.after, message.id ?? 0);
      known.listener({ id: message.id, event: message.event, data: message.data });
      if (FINAL.has(message.event)) this._subjects.delete(nameOf(message));
    } else if (message.type === "error") {
      this._subjects.delete(nameOf(message));
      known.listener({ id: null, event: "error", data: message.problem });
    }
  }
}

function isOfSocket({ type, job, run }) {
  return type === "error" && job === undefined && run === undefined;
}

function nameOf({ job, run }) {
  return job === undefined ? `run/${run}` : `job/${job}`;
}

/** The events of an answer put together: what is withdrawn is gone. */
export class Answer {
  constructor() {
    this.plan = null;
    this.stages = [];
    this.sources = [];
    this.completed = null;
    this.problem = null;
    this._forget();
  }

  _forget() {
    this.text = "";
    this.sections = [];
    this.citations = [];
  }

  /** Take the next event in; returns the answer. */
  add({ event, data }) {
    if (event === "plan") this.plan = data;
    else if (event === "stage") this.stages.push(data);
    else if (event === "sources") this.sources = data.passages ?? data.sources ?? [];
    else if (event === "text") this.text += data.text;
    else if (event === "outline") this._outline(data.sections);
    else if (event === "section.text") this._section(data.section_id).text += data.text;
    else if (event === "citation") this.citations.push(data);
    else if (event === "revised") this._forget();
    else if (event === "completed") this.completed = data;
    else if (event === "error") this.problem = data;
    return this;
  }

  _outline(sections) {
    const known = new Map(this.sections.map((each) => [each.section_id, each]));
    this.sections = sections.map((each) => ({ text: "", ...known.get(each.section_id), ...each }));
  }

  _section(id) {
    return this.sections.find((each) => each.section_id === id) ?? { text: "" };
  }
}

/**
 * Paint an answer into an element, again after each event: `token` as text, `block` as paragraphs that appear
 * whole, `outline` as headings that fill. Only what has changed is touched, and nothing is taken for HTML.
 */
export function paint(element, answer, { mode = "token" } = {}) {
  const parts = mode === "outline" || answer.sections.length ? outlineOf(answer) : blocksOf(answer.text, mode);
  const doc = element.ownerDocument;
  parts.forEach(([tag, text, kind], index) => {
    let child = element.children[index];
    if (child === undefined || child.localName !== tag) {
      const made = doc.createElement(tag);
      if (child === undefined) element.append(made);
      else child.replaceWith(made);
      child = made;
    }
    if (child.textContent !== text) child.textContent = text;
    child.className = kind;
  });
  while (element.children.length > parts.length) element.lastElementChild.remove();
}

function blocksOf(text, mode) {
  if (mode === "token") return text ? [["p", text, "hasten-text"]] : [];
  return text.split(/\n{2,}/).filter(Boolean).map((each) => ["p", each, "hasten-text"]);
}

function outlineOf({ sections }) {
  return sections.flatMap(({ title, text }) => [
    ["h2", title, "hasten-title"],
    ["p", text, text ? "hasten-text" : "hasten-waiting"],
  ]);
}

/** Yield the events of a stream of server-sent events, however it is cut into pieces. */
export async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      // A carriage return at the end may be half of a line break.
      const text = (rest + (value ?? "")).replace(/\r\n/g, "\n").replace(done ? /\r/g : /\r(?!$)/g, "\n");
      const blocks = text.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = eventOf(block);
        if (event !== null) yield event;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  let id = null;
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "id") id = Number(value);
    else if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  return data.length ? { id, event, data: JSON.parse(data.join("\n")) } : null;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done() {
      signal.removeEventListener("abort", stop);
      resolve();
    }
    function stop() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal.addEventListener("abort", stop, { once: true });
  });
}
