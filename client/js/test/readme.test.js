import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** A socket that answers the requests of the example as a server does. */
class ScriptedSocket {
  static requests = [];
  readyState = 1;
  constructor() {
    setImmediate(() => this.onopen());
  }
  send(text) {
    const frame = JSON.parse(text);
    ScriptedSocket.requests.push(frame.type);
    const answer = this.#answer(frame);
    if (answer) setImmediate(() => this.onmessage?.({ data: JSON.stringify({ ...answer, id: frame.id }) }));
  }
  close() {
    this.readyState = 3;
  }
  #answer({ type, conversation }) {
    const message = {
      type: "message",
      id: "e1",
      conversation: "c",
      seq: 1,
      sender: "bob",
      kind: "text",
      content: { text: "Hi" },
      time: 1,
    };
    switch (type) {
      case "hello":
        return { type: "welcome", heartbeat_ms: 20_000 };
      case "call":
        return { type: "result", value: { token: "t" } };
      case "auth":
        return { type: "welcome", actor: "ann", heartbeat_ms: 20_000 };
      case "sync":
        return {
          type: "synced",
          position: "p",
          conversations: [{ id: "c", kind: "direct", members: ["ann", "bob"], epoch: 1, seq: 1, last: message }],
        };
      case "history":
        return { type: "events", conversation, epoch: 1, head: 1, events: [message] };
      case "send":
        return { type: "ack", conversation, seq: 2, event: "e2", time: 2 };
      default:
        return undefined;
    }
  }
}

test("the example of the README runs", async (t) => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const [, example] = /```js\n(.*?)```/s.exec(readme);
  const code = example.replace("./courtyard.js", new URL("../courtyard.js", import.meta.url).href);
  const lines = [];
  t.mock.method(console, "log", (line) => lines.push(line));
  const { WebSocket } = globalThis;
  t.after(() => (globalThis.WebSocket = WebSocket));
  globalThis.WebSocket = ScriptedSocket;
  await import(`data:text/javascript,${encodeURIComponent(code)}`);
  assert.deepEqual(lines, ["bob: Hi", "sent as number 2"]);
  assert.ok(ScriptedSocket.requests.includes("auth"));
});
