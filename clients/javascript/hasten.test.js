// node --test: the module over real HTTP, before a server that breaks off wherever it likes.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";

import { Answer, Hasten, ProblemError, paint, parse } from "./hasten.js";

const EVENTS = [
  ["plan", { run_id: "run-1" }],
  ["sources", [{ document_id: "d1" }]],
  ...[..."Because of scattering, said the sky."].map((text) => ["text", { text }]),
  ["completed", { finish_reason: "end_turn" }],
];
const TEXT = EVENTS.filter(([event]) => event === "text").map(([, { text }]) => text).join("");

const frame = ([event, data], id) => `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

let server, url, seen, script;

before(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      seen.push({ method: request.method, path: request.url, headers: request.headers, body });
      script(request, response, body && JSON.parse(body));
    });
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  url = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());
beforeEach(() => (seen = []));

/** Tell the events behind the last one that was seen, and break off after `most`. */
function telling(most) {
  return (request, response) => {
    const last = Number(request.headers["last-event-id"] ?? 0);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const left = EVENTS.slice(last, last + most);
    left.forEach((each, index) => response.write(frame(each, last + index + 1)));
    if (last + most >= EVENTS.length) response.end();
    else setTimeout(() => response.destroy(), 5);
  };
}

function refusing(status, members, headers = {}) {
  return (_, response) => {
    response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
    response.end(JSON.stringify({ status, ...members }));
  };
}

async function whole(run) {
  const answer = new Answer();
  for await (const event of run) answer.add(event);
  return answer;
}

describe("asking", () => {
  test("tells every event, and says what was asked", async () => {
    script = telling(100);
    const run = new Hasten({ url, key: "hst_1_x" }).ask("Why?", { budget_ms: 500 });
    const answer = await whole(run);
    assert.equal(answer.text, TEXT);
    assert.equal(answer.completed.finish_reason, "end_turn");
    assert.equal(run.id, "run-1");
    assert.deepEqual(JSON.parse(seen[0].body), { question: "Why?", resumable: true, budget_ms: 500 });
    assert.equal(seen[0].headers.authorization, "Bearer hst_1_x");
  });

  test("reads on where a connection broke, each event once", async () => {
    script = telling(5);
    const ids = [];
    const run = new Hasten({ url }).ask("Why?");
    const answer = new Answer();
    for await (const event of run) {
      ids.push(event.id);
      answer.add(event);
    }
    assert.equal(answer.text, TEXT);
    assert.deepEqual(ids, EVENTS.map((_, index) => index + 1));
    assert.equal(seen.filter(({ method }) => method === "POST").length, 1);
    assert.ok(seen.length > 5);
  });

  test("does not read on if it may not: the control of the above", async () => {
    script = telling(5);
    await assert.rejects(whole(new Hasten({ url }).ask("Why?", { resumable: false })));
    assert.equal(seen.length, 1);
  });

  test("waits as long as it is told while the server has too much to do", async () => {
    let refused = 0;
    const tell = telling(10);
    script = (request, response) => {
      if (request.method === "GET" && refused++ === 0) {
        refusing(429, { reason: "OVERLOADED", retry_after_s: 0.05 })(request, response);
      } else tell(request, response);
    };
    assert.equal((await whole(new Hasten({ url }).ask("Why?"))).text, TEXT);
  });

  test("gives up on a run that is gone", async () => {
    const tell = telling(5);
    script = (request, response) =>
      (request.method === "GET" ? refusing(404, { reason: "RUN_NOT_FOUND" }) : tell)(request, response);
    await assert.rejects(whole(new Hasten({ url }).ask("Why?")), { reason: "RUN_NOT_FOUND", status: 404 });
  });

  test("names what is wrong with a question", async () => {
    script = refusing(400, { reason: "INVALID_FIELD", detail: "question: must be there", field: "question" });
    await assert.rejects(whole(new Hasten({ url }).ask("")), (error) => {
      assert.ok(error instanceof ProblemError);
      assert.equal(error.field, "question");
      return true;
    });
  });

  test("ends when its loop is left", async () => {
    script = telling(1000);
    for await (const { event } of new Hasten({ url }).ask("Why?")) if (event === "text") break;
  });

  test("can be aborted while it waits", async () => {
    script = (_, response) => response.writeHead(200, { "Content-Type": "text/event-stream" }).write(": ping\n\n");
    const leaving = new AbortController();
    setTimeout(() => leaving.abort(), 20);
    await assert.rejects(whole(new Hasten({ url }).ask("Why?", { signal: leaving.signal })), { name: "AbortError" });
  });

  test("stops and judges runs", async () => {
    script = (request, response) => response.end(JSON.stringify({ stopping: true, removed: true }));
    const run = new Hasten({ url }).run("run-1");
    assert.equal(await run.stop(), true);
    assert.equal(await run.feedback("bad"), true);
    assert.deepEqual(seen.map(({ path }) => path), ["/v1/runs/run-1/stop", "/v1/runs/run-1/feedback"]);
  });
});

describe("jobs", () => {
  const JOB = [
    ["state", { state: "running" }],
    ["progress", { percent: 50 }],
    ["item", { key: "a", value: { label: "x" } }],
    ["completed", { state: "succeeded", result: { count: 1 } }],
  ];

  test("are submitted once, and waited for over broken connections", async () => {
    script = (request, response, body) => {
      if (request.method === "POST") {
        assert.equal(body.kind, "classify");
        response.writeHead(202).end(JSON.stringify({ job_id: "j1" }));
        return;
      }
      const last = Number(request.headers["last-event-id"]);
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(frame(JOB[last], last + 1));
      setTimeout(() => response.destroy(), 5);
    };
    const client = new Hasten({ url });
    const { job_id: id } = await client.jobs.submit("classify", { rows: ["a"] }, { idempotencyKey: "k" });
    const told = [];
    const job = await client.jobs.wait(id, {
      onProgress: ({ percent }) => told.push(percent),
      onItem: (key, value) => told.push([key, value.label]),
    });
    assert.deepEqual(told, [50, ["a", "x"]]);
    assert.deepEqual(job.result, { count: 1 });
    assert.equal(seen[0].headers["idempotency-key"], "k");
  });

  test("are cancelled", async () => {
    script = (_, response) => response.end(JSON.stringify({ state: "cancelled" }));
    assert.equal((await new Hasten({ url }).jobs.cancel("j1")).state, "cancelled");
    assert.equal(seen[0].method, "DELETE");
  });
});

describe("parsing", () => {
  async function parsed(text, size) {
    const bytes = new TextEncoder().encode(text);
    const pieces = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
    const found = [];
    for await (const each of parse(ReadableStream.from(pieces))) found.push(each);
    return found;
  }

  test("does not depend on where a stream is cut", async () => {
    const text = ': ping\n\nid: 1\r\nevent: text\r\ndata: {"text":\r\ndata: "größer 👩‍🚀"}\r\n\r\ndata: 2\n\nid: 3\n\n';
    const once = await parsed(text, 1e6);
    assert.deepEqual(once, [
      { id: 1, event: "text", data: { text: "größer 👩‍🚀" } },
      { id: null, event: "message", data: 2 },
    ]);
    for (const size of [1, 2, 3, 5, 7, 11]) assert.deepEqual(await parsed(text, size), once);
  });
});

describe("an answer", () => {
  const add = (answer, ...events) => events.forEach(([event, data]) => answer.add({ event, data }));

  test("forgets what is withdrawn", () => {
    const answer = new Answer();
    add(answer, ["text", { text: "No" }], ["citation", {}], ["revised", { reason: "X" }], ["text", { text: "Yes" }]);
    assert.deepEqual([answer.text, answer.citations], ["Yes", []]);
  });

  test("fills the sections of its outline, and keeps them when it grows", () => {
    const answer = new Answer();
    const one = { section_id: "s1", title: "One" };
    add(answer, ["outline", { sections: [one] }], ["section.text", { section_id: "s1", text: "a" }]);
    add(answer, ["outline", { sections: [one, { section_id: "s2", title: "Two" }] }]);
    add(answer, ["section.text", { section_id: "s2", text: "b" }], ["section.text", { section_id: "s1", text: "c" }]);
    assert.deepEqual(answer.sections.map(({ title, text }) => [title, text]), [["One", "ac"], ["Two", "b"]]);
  });
});

describe("painting", () => {
  /** As much of a document as painting needs. */
  class Element {
    constructor(localName, ownerDocument) {
      Object.assign(this, { localName, ownerDocument, children: [], textContent: "", className: "" });
    }
    append(child) {
      child.parent = this;
      this.children.push(child);
    }
    replaceWith(other) {
      other.parent = this.parent;
      this.parent.children.splice(this.parent.children.indexOf(this), 1, other);
    }
    remove() {
      this.parent.children.splice(this.parent.children.indexOf(this), 1);
    }
    get lastElementChild() {
      return this.children.at(-1);
    }
  }
  const page = { createElement: (name) => new Element(name, page) };
  const shown = (element) => element.children.map(({ localName, textContent }) => [localName, textContent]);

  test("shows text, blocks and outlines, and touches only what has changed", () => {
    const element = new Element("div", page);
    const answer = new Answer();
    answer.text = "One.\n\n<b>Two</b>";
    paint(element, answer, { mode: "block" });
    assert.deepEqual(shown(element), [["p", "One."], ["p", "<b>Two</b>"]]);
    const first = element.children[0];
    answer.text += " and";
    paint(element, answer, { mode: "block" });
    assert.equal(element.children[0], first);
    paint(element, answer);
    assert.deepEqual(shown(element), [["p", answer.text]]);
    answer.add({ event: "outline", data: { sections: [{ section_id: "s1", title: "T" }] } });
    paint(element, answer, { mode: "outline" });
    assert.deepEqual(shown(element), [["h2", "T"], ["p", ""]]);
    assert.equal(element.children[1].className, "hasten-waiting");
    answer.add({ event: "revised", data: {} });
    paint(element, answer);
    assert.deepEqual(shown(element), []);
  });
});

describe("a socket", () => {
  /** A server's end of a socket, without a network. */
  class Socket {
    static all = [];
    constructor(url, protocols) {
      Object.assign(this, { url, protocols, said: [], readyState: 0 });
      Socket.all.push(this);
      queueMicrotask(() => ((this.readyState = 1), this.onopen()));
    }
    send(text) {
      this.said.push(JSON.parse(text));
    }
    tell(message) {
      this.onmessage({ data: JSON.stringify(message) });
    }
    close(code = 1000) {
      this.readyState = 3;
      this.onclose({ code });
    }
  }

  test("subscribes anew behind what was heard, and tells each event once", async () => {
    const client = new Hasten({ url: "http://edge", key: "k", WebSocket: Socket });
    const live = client.live();
    const heard = [];
    live.subscribe({ job: "j1" }, ({ id }) => heard.push(id));
    await new Promise((soon) => setTimeout(soon, 5));
    const [first] = Socket.all;
    assert.equal(first.url, "ws://edge/v1/ws");
    assert.deepEqual(first.protocols, ["hasten.v1", "hasten.key.k"]);
    assert.deepEqual(first.said, [{ type: "subscribe", job: "j1", after: 0 }]);
    for (const id of [1, 2]) first.tell({ type: "event", job: "j1", id, event: "progress", data: {} });
    first.close();
    await new Promise((soon) => setTimeout(soon, 250));
    const second = Socket.all[1];
    assert.deepEqual(second.said, [{ type: "subscribe", job: "j1", after: 2 }]);
    for (const id of [2, 3]) second.tell({ type: "event", job: "j1", id, event: "completed", data: {} });
    assert.deepEqual(heard, [1, 2, 3]);
    live.close();
  });

  test("is not opened again for who is not let in, and says why", async () => {
    Socket.all.length = 0;
    const live = new Hasten({ url: "http://edge", key: "bad", WebSocket: Socket }).live();
    const heard = [];
    live.subscribe({ run: "r1" }, ({ event, data }) => heard.push([event, data.reason]));
    await new Promise((soon) => setTimeout(soon, 5));
    Socket.all[0].tell({ type: "error", problem: { status: 401, reason: "UNAUTHENTICATED" } });
    Socket.all[0].close(4401);
    assert.deepEqual(heard, [["error", "UNAUTHENTICATED"]]);
    await new Promise((soon) => setTimeout(soon, 300));
    assert.equal(Socket.all.length, 1);
  });

  test("that is closed at once each time is opened again ever more rarely", async () => {
    Socket.all.length = 0;
    const live = new Hasten({ url: "http://edge", WebSocket: Socket }).live();
    live.subscribe({ run: "r1" }, () => {});
    await new Promise((soon) => setTimeout(soon, 5));
    for (const waitMs of [200, 400]) {
      assert.equal(live._waitMs, waitMs);
      Socket.all.at(-1).close(1011);
      await new Promise((soon) => setTimeout(soon, waitMs + 50));
    }
    assert.equal(Socket.all.length, 3);
    live.close();
  });
});
