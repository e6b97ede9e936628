import assert from "node:assert/strict";
import { test } from "node:test";
import { Courtyard, ulid } from "../courtyard.js";

/** A socket whose other end is the test. */
class Socket {
  static opened = [];
  readyState = 1;
  sent = [];
  constructor() {
    Socket.opened.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  answer(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const event = (seq) => ({ type: "message", conversation: "c", seq, content: {} });

function connected(storage) {
  Socket.opened = [];
  const client = new Courtyard({ url: "ws://x", device: "d", WebSocket: Socket, storage });
  const shown = [];
  client.addEventListener("event", ({ detail }) => shown.push(detail.seq));
  client.connect("t");
  return { client, shown, socket: welcome() };
}

function welcome() {
  const socket = Socket.opened.at(-1);
  socket.onopen();
  socket.answer({ type: "welcome", actor: "ann", heartbeat_ms: 20000 });
  return socket;
}

const of = (socket, type) => socket.sent.filter((frame) => frame.type === type);

test("a ULID has 26 characters and sorts by time", () => {
  assert.equal(ulid().length, 26);
  assert.ok(ulid(1_000) < ulid(2_000));
});

test("events are shown once and in order, and gaps are fetched", async () => {
  const { client, shown, socket } = connected();
  socket.answer({ type: "event", event: event(5) });
  socket.answer({ type: "event", event: event(5) });
  socket.answer({ type: "event", event: event(8) });
  assert.deepEqual(shown, [5]);
  const [fetch] = of(socket, "history");
  assert.equal(fetch.after, 5);
  socket.answer({ type: "events", id: fetch.id, events: [event(6), event(7), event(8)] });
  await settled();
  assert.deepEqual(shown, [5, 6, 7, 8]);
  client.close();
});

test("messages are resent in order under the same id until they are acked", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  const first = client.send("c", { text: "1" });
  const second = client.send("c", { text: "2" });
  socket.answer({ type: "ack", id: first.id, conversation: "c", seq: 1, event: "e", time: 0 });
  assert.equal((await first).seq, 1);
  const third = client.send("c", { text: "3" });
  socket.onclose({ code: 1006 });
  assert.equal(client.state, "offline");
  t.mock.timers.tick(500);
  const again = welcome();
  assert.deepEqual(of(again, "send").map((frame) => frame.id), [second.id, third.id]);
  client.close();
});

test("unsent messages survive the page", () => {
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const { client } = connected(storage);
  const { id } = client.send("c", { text: "1" });
  client.close();
  const { client: next, socket } = connected(storage);
  assert.deepEqual(of(socket, "send").map((frame) => frame.id), [id]);
  next.close();
});

test("a session that was ended is not connected again", () => {
  const { client, socket } = connected();
  socket.onclose({ code: 4101 });
  assert.equal(client.state, "ended");
  assert.equal(Socket.opened.length, 1);
});
