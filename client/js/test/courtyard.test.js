import assert from "node:assert/strict";
import { test } from "node:test";
import { Courtyard, MessageList, replyTo, revised, ulid } from "../courtyard.js";

/** A socket whose server is the test. */
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

test("events are emitted once and in order, and gaps are fetched", async () => {
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
  assert.deepEqual(
    of(again, "send").map((frame) => frame.id),
    [second.id, third.id],
  );
  client.close();
});

test("unsent messages survive a reload", () => {
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const { client } = connected(storage);
  const { id } = client.send("c", { text: "1" });
  client.close();
  const { client: next, socket } = connected(storage);
  assert.deepEqual(
    of(socket, "send").map((frame) => frame.id),
    [id],
  );
  next.close();
});

test("an ended session does not reconnect", () => {
  const { client, socket } = connected();
  socket.onclose({ code: 4101 });
  assert.equal(client.state, "ended");
  assert.equal(Socket.opened.length, 1);
});

test("requests made while connecting are queued, and fail with the connection", async () => {
  Socket.opened = [];
  const client = new Courtyard({ url: "ws://x", device: "d", WebSocket: Socket });
  await assert.rejects(client.call("users.whoami"), { code: "offline" });
  client.connect();
  const [socket] = Socket.opened;
  socket.readyState = 0;
  const early = client.call("users.register", { name: "ann" });
  assert.deepEqual(socket.sent, []);
  socket.readyState = 1;
  socket.onopen();
  socket.answer({ type: "welcome", heartbeat_ms: 20000 });
  assert.deepEqual(
    socket.sent.map(({ type }) => type),
    ["hello", "call"],
  );
  socket.answer({ type: "result", id: socket.sent[1].id, value: "in" });
  assert.equal(await early, "in");
  socket.onclose({ code: 1006 });
  client.connect();
  Socket.opened[1].readyState = 0;
  const lost = client.call("users.whoami");
  Socket.opened[1].onclose({ code: 1006 });
  await assert.rejects(lost, { code: "offline" });
  client.close();
});

test("acts are resent under the same id until they are acked, and become events of their own type", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  const seen = [];
  client.addEventListener("event", ({ detail }) => seen.push(detail));
  const acts = [
    client.edit("c", 1, { text: "Hello" }),
    client.recall("c", 2),
    client.react("c", 3, "👍"),
    client.unreact("c", 3, "👍"),
  ];
  assert.deepEqual(
    client.unsent.map(({ type, target }) => [type, target]),
    [
      ["edit", 1],
      ["recall", 2],
      ["react", 3],
      ["unreact", 3],
    ],
  );
  socket.onclose({ code: 1006 });
  t.mock.timers.tick(500);
  const again = welcome();
  const written = () => again.sent.filter((frame) => frame.target);
  // The last act waits for the one before it on the same message.
  assert.deepEqual(
    written().map(({ id }) => id),
    acts.slice(0, 3).map(({ id }) => id),
  );
  const content = { text: "Hello" };
  assert.deepEqual(written()[0], { type: "edit", conversation: "c", target: 1, content, id: acts[0].id });

  acts.forEach(({ id }, at) => {
    const content = at === 0 ? { content: { text: "H***o" } } : {};
    again.answer({ type: "ack", id, conversation: "c", seq: 10 + at, event: `e${at}`, time: 7, ...content });
  });
  assert.deepEqual(written()[3], { type: "unreact", conversation: "c", target: 3, emoji: "👍", id: acts[3].id });
  assert.equal((await acts[3]).seq, 13);
  assert.deepEqual(
    seen.map(({ type, seq, target, content, sender }) => [type, seq, target, content, sender]),
    [
      ["edit", 10, 1, { text: "H***o" }, "ann"],
      ["recall", 11, 2, {}, "ann"],
      ["reaction", 12, 3, { emoji: "👍", on: true }, "ann"],
      ["reaction", 13, 3, { emoji: "👍", on: false }, "ann"],
    ],
  );
  assert.deepEqual(client.unsent, []);
  client.close();
});

test("an act that will be retried is not overtaken by the next one on the same message", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  const [first, second, other] = [client.react("c", 1, "👍"), client.unreact("c", 1, "👍"), client.react("d", 1, "👍")];
  socket.answer({ type: "error", id: first.id, code: "busy", message: "Too much.", retry: true });
  t.mock.timers.tick(500);
  const written = () => socket.sent.filter((frame) => frame.target).map(({ id }) => id);
  assert.deepEqual(written(), [first.id, other.id, first.id]);
  socket.answer({ type: "ack", id: first.id, conversation: "c", seq: 2, event: "e", time: 0 });
  assert.deepEqual(written().slice(3), [second.id]);
  client.close();
});

test("a rejected act is reported and not resent", async () => {
  const { client, socket } = connected();
  const refused = [];
  client.addEventListener("refused", ({ detail }) => refused.push(detail));
  const act = client.recall("c", 1);
  socket.answer({
    type: "error",
    id: act.id,
    code: "forbidden",
    message: "Only its sender can do that.",
    retry: false,
  });
  await assert.rejects(act, { code: "forbidden" });
  assert.deepEqual(
    refused.map(({ message }) => message.type),
    ["recall"],
  );
  assert.deepEqual(client.unsent, []);
  client.close();
});

test("a new epoch emits a reset", async () => {
  const { client, shown, socket } = connected();
  const resets = [];
  client.addEventListener("reset", ({ detail }) => resets.push(detail));
  const sync = async (epoch, seq) => {
    socket.answer({ type: "gap" });
    const { id } = of(socket, "sync").at(-1);
    socket.answer({ type: "synced", id, conversations: [{ id: "c", members: [], epoch, seq, last: event(seq) }] });
    await settled();
  };
  await sync(0, 9);
  await sync(1, 1);
  assert.deepEqual(resets, [{ conversation: "c", epoch: 1 }]);
  assert.deepEqual(shown, [9, 1]);
  client.close();
});

const said = (seq, more = {}) => ({
  type: "message",
  id: `e${seq}`,
  conversation: "c",
  seq,
  kind: "text",
  sender: "ann",
  content: { text: `${seq}` },
  time: seq,
  ...more,
});
const about = (seq, type, target, content = {}, more = {}) => ({
  type,
  id: `e${seq}`,
  conversation: "c",
  seq,
  target,
  kind: "",
  sender: "bob",
  content,
  time: seq,
  ...more,
});
const reaction = (seq, target, emoji, on, sender = "bob") => about(seq, "reaction", target, { emoji, on }, { sender });

test("live events are folded into their target messages", () => {
  const list = new MessageList();
  assert.equal(list.first, Infinity);
  list.add(said(1));
  list.add(said(2));
  list.add(about(3, "edit", 1, { text: "one" }));
  list.add(reaction(4, 1, "👍", true));
  list.add(reaction(5, 1, "👍", true, "ann"));
  list.add(reaction(6, 1, "🎂", true));
  list.add(reaction(7, 1, "👍", true));
  list.add(reaction(8, 1, "🎂", false));
  list.add(reaction(9, 1, "never", false));
  list.add(about(10, "annotation", 1, { value: 1 }, { sender: "clerk", kind: "es" }));
  list.add(about(11, "annotation", 1, { value: { text: "uno" } }, { sender: "clerk", kind: "es" }));
  assert.equal(list.add(about(12, "members", undefined, { joined: ["carol"], left: [] })), undefined);
  assert.equal(list.add(about(13, "of the future", 1)).seq, 1);
  const [one, two] = list.messages;
  assert.equal(list.messages.length, 2);
  assert.deepEqual([one.content, one.edited, one.recalled], [{ text: "one" }, 3, false]);
  assert.deepEqual(one.reactions, [{ emoji: "👍", actors: ["bob", "ann"] }]);
  assert.deepEqual(one.annotations, [{ plugin: "clerk", name: "es", value: { text: "uno" } }]);
  assert.deepEqual([two.content, two.edited, two.reactions], [{ text: "2" }, undefined, []]);
  assert.equal(list.first, 1);
});

test("a recalled message loses its content for good", () => {
  const list = new MessageList();
  list.add(said(1, { content: { text: "secret" } }));
  list.add(reaction(2, 1, "👍", true));
  const message = list.add(about(3, "recall", 1, {}, { sender: "ann" }));
  assert.deepEqual([message.recalled, message.content, message.reactions], [true, {}, []]);
  list.add(reaction(4, 1, "👍", true));
  list.addPage({ head: 2, events: [said(1, { content: { text: "secret" } })] });
  assert.ok(!JSON.stringify(list.messages).includes("secret"));
  assert.deepEqual(list.get(1), message);
});

test("changes that a page already includes are not applied twice, in any order", () => {
  // Event 40 removes Bob's reaction 3; the page of 40 was fetched before that of 3.
  const pages = [
    { head: 41, events: [reaction(40, 1, "👍", false), said(41)] },
    {
      head: 41,
      events: [
        said(1, { content: { text: "new" }, edited: 5 }),
        reaction(3, 1, "👍", true),
        about(4, "edit", 1, { text: "old" }),
      ],
    },
  ];
  for (const order of [pages, pages.toReversed(), [...pages, ...pages]]) {
    const list = new MessageList();
    order.forEach((page) => list.addPage(page));
    assert.deepEqual(
      list.messages.map(({ content, reactions }) => [content.text, reactions]),
      [
        ["new", []],
        ["41", []],
      ],
    );
  }
  // A page fetched before 42 that arrives after it.
  const list = new MessageList();
  list.add(reaction(42, 1, "🎂", true));
  list.addPage(pages[1]);
  assert.deepEqual(list.get(1).reactions, [{ emoji: "🎂", actors: ["bob"] }]);
  list.addPage({ head: 50, events: [said(1, { reactions: [{ emoji: "🌱", actors: ["ann"] }] })] });
  list.addPage(pages[1]);
  assert.deepEqual(list.get(1).reactions, [{ emoji: "🌱", actors: ["ann"] }]);
  list.clear();
  assert.deepEqual([list.messages, list.first], [[], Infinity]);
});

test("`revised` does not modify its argument", () => {
  const message = said(1, { reactions: [{ emoji: "👍", actors: ["ann"] }] });
  const before = structuredClone(message);
  assert.deepEqual(revised(message, reaction(2, 1, "👍", true)).reactions[0].actors, ["ann", "bob"]);
  assert.equal(revised(message, about(3, "edit", 1, { text: "x" })).content.text, "x");
  assert.deepEqual(message, before);
});

test("only the number of an earlier message makes a reply", () => {
  assert.equal(replyTo(said(5, { content: { text: "yes", reply_to: 3 } })), 3);
  assert.equal(replyTo({ content: { reply_to: 3 } }), 3);
  for (const reply_to of [undefined, null, 0, -1, 1.5, "3", 5, 6, 2 ** 60]) {
    assert.equal(replyTo(said(5, { content: { text: "yes", reply_to } })), undefined, String(reply_to));
  }
});

const listed = (more) => ({
  id: "c",
  kind: "direct",
  members: ["ann", "bob"],
  epoch: 0,
  seq: 3,
  delivered: 0,
  read: 1,
  unread: 2,
  ...more,
});
const from = (sender, seq) => ({ ...event(seq), sender, client_id: `m${seq}` });

async function synced(socket, conversations, more) {
  socket.answer({ type: "synced", id: of(socket, "sync").at(-1).id, conversations, position: "7", ...more });
  await settled();
}

test("a reconnect requests changes, and conversations that were left are removed", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  const lists = [],
    left = [];
  client.addEventListener("synced", ({ detail }) => lists.push(detail.map(({ id }) => id)));
  client.addEventListener("left", ({ detail }) => left.push(detail.conversation));
  assert.equal(of(socket, "sync")[0].since, undefined);
  await synced(socket, [listed(), listed({ id: "d" })]);
  socket.onclose({ code: 1006 });
  t.mock.timers.tick(500);
  const again = welcome();
  assert.equal(of(again, "sync")[0].since, "7");
  await synced(again, [listed({ seq: 4 })], { left: ["d"] });
  assert.deepEqual(lists, [["c", "d"], ["c"]]);
  assert.deepEqual(left, ["d"]);
  client.close();
});

test("unread messages are counted up to a hundred, and another actor starts with none", async () => {
  const { client, socket } = connected();
  await synced(socket, [listed({ seq: 3, unread: 2 })]);
  for (let seq = 4; seq < 500; seq++) socket.answer({ type: "event", event: from("bob", seq) });
  assert.equal(client.marks("c").unread, 100);
  socket.answer({ type: "receipt", conversation: "c", actor: "ann", delivered: 499, read: 499 });
  assert.equal(client.marks("c").unread, 0);
  const signedIn = client.auth("t2");
  const [{ id }] = of(socket, "auth");
  socket.answer({ type: "welcome", id, protocol: 1, session: "s2", actor: "cid", heartbeat_ms: 20_000, time: 0 });
  await signedIn;
  assert.deepEqual(client.marks("c"), { read: 0, delivered: 0, unread: 0, receipts: [] });
  client.close();
});

test("the unread count continues from the synced one, and reading clears it on every device", async () => {
  const { client, socket } = connected();
  await synced(socket, [listed()]);
  assert.equal(client.marks("c").unread, 2);
  socket.answer({ type: "event", event: from("bob", 4) });
  socket.answer({ type: "event", event: from("ann", 5) });
  assert.equal(client.marks("c").unread, 3);
  client.markRead("c", 5);
  client.markRead("c", 4);
  const [receipt] = of(socket, "receipt");
  assert.equal(receipt.read, 5);
  socket.answer({ type: "marked", id: receipt.id, conversation: "c", delivered: 5, read: 5 });
  await settled();
  assert.equal(client.marks("c").unread, 0);
  socket.answer({ type: "event", event: from("bob", 6) });
  assert.equal(client.marks("c").unread, 1);
  socket.answer({ type: "receipt", conversation: "c", actor: "ann", delivered: 6, read: 6 });
  assert.equal(client.marks("c").unread, 0);
  socket.answer({ type: "receipt", conversation: "c", actor: "bob", delivered: 6, read: 5 });
  assert.deepEqual(client.marks("c").receipts, [{ actor: "bob", delivered: 6, read: 5 }]);
  client.close();
});

test("read marks made offline are sent after the reconnect", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  await synced(socket, [listed()]);
  socket.onclose({ code: 1006 });
  client.markRead("c", 3);
  t.mock.timers.tick(500);
  assert.deepEqual(
    of(welcome(), "receipt").map(({ read }) => read),
    [3],
  );
  client.close();
});

test("delivery receipts are batched", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  await synced(socket, []);
  for (const seq of [1, 2, 3]) socket.answer({ type: "event", event: from("bob", seq) });
  t.mock.timers.tick(1_000);
  assert.deepEqual(
    of(socket, "receipt").map(({ delivered, read }) => [delivered, read]),
    [[3, 0]],
  );
  client.close();
});

test("typing is throttled, and ends with the message or after a time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  const seen = [];
  client.addEventListener("typing", ({ detail: { actor, on } }) => seen.push([actor, on]));
  client.typing("c");
  client.typing("c");
  assert.equal(of(socket, "typing").length, 1);
  socket.answer({ type: "typing", conversation: "c", actor: "bob" });
  socket.answer({ type: "event", event: from("bob", 1) });
  socket.answer({ type: "typing", conversation: "c", actor: "bob" });
  t.mock.timers.tick(6_000);
  assert.deepEqual(seen, [
    ["bob", true],
    ["bob", false],
    ["bob", true],
    ["bob", false],
  ]);
  client.close();
});

test("a gap left by a broken connection is fetched by the next one, even without changes", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, shown, socket } = connected();
  await synced(socket, [listed({ unread: 0, last: from("bob", 3) })]);
  socket.answer({ type: "event", event: from("bob", 5) });
  assert.equal(of(socket, "history").length, 1);
  socket.onclose({ code: 1006 });
  await settled();
  t.mock.timers.tick(500);
  const again = welcome();
  await synced(again, []);
  const [fetch] = of(again, "history");
  assert.equal(fetch.after, 3);
  again.answer({ type: "events", id: fetch.id, events: [from("bob", 4), from("bob", 5)] });
  await settled();
  assert.deepEqual(shown, [3, 4, 5]);
  client.close();
});

const members = (seq, content) => ({
  ...event(seq),
  type: "members",
  sender: "bob",
  content: { joined: [], left: [], ...content },
});

test("a new conversation is requested, and later joins and leaves update its members", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = connected();
  await synced(socket, []);
  let list;
  client.addEventListener("synced", ({ detail }) => ([list] = detail));
  socket.answer({ type: "event", event: members(1, { joined: ["ann"] }) });
  socket.answer({ type: "event", event: event(2) });
  t.mock.timers.tick(0);
  assert.equal(of(socket, "sync").length, 2);
  await synced(socket, [listed({ kind: "group", members: ["ann", "bob"], seq: 2, last: event(2) })]);
  assert.equal(list.kind, "group");

  socket.answer({ type: "event", event: members(3, { joined: ["eve", "dan"] }) });
  socket.answer({ type: "event", event: members(4, { left: ["bob", "dan"] }) });
  t.mock.timers.tick(0);
  assert.deepEqual(client.conversation("c").members, ["ann", "eve"]);
  assert.equal(of(socket, "sync").length, 2, "who else is there is in the events");

  let left;
  client.addEventListener("left", ({ detail }) => (left = detail.conversation));
  socket.answer({ type: "event", event: members(5, { left: ["ann"] }) });
  t.mock.timers.tick(0);
  await synced(socket, [], { left: ["c"] });
  assert.equal(left, "c");
  client.close();
});

test("receipts of a large conversation are fetched in pages", async () => {
  const { client, socket } = connected();
  await synced(socket, [listed({ receipts: [] })]);
  const all = client.receipts("c");
  const [first] = of(socket, "receipts");
  assert.equal(first.after_actor, undefined);
  const page = Array.from({ length: first.limit }, (_, at) => ({ actor: `a${at}`, delivered: 2, read: 1 }));
  socket.answer({ type: "receipts", id: first.id, conversation: "c", receipts: page });
  await settled();
  // A receipt that advanced meanwhile doesn't go back.
  socket.answer({ type: "receipt", conversation: "c", actor: "z", delivered: 3, read: 3 });
  const second = of(socket, "receipts").at(-1);
  assert.equal(second.after_actor, page.at(-1).actor);
  const rest = [
    { actor: "ann", delivered: 3, read: 3 },
    { actor: "z", delivered: 2, read: 2 },
  ];
  socket.answer({ type: "receipts", id: second.id, conversation: "c", receipts: rest });
  const receipts = await all;
  assert.equal(receipts.length, first.limit + 1, "one's own is not among them");
  assert.deepEqual(
    receipts.find(({ actor }) => actor === "z"),
    { actor: "z", delivered: 3, read: 3 },
  );
  client.close();
});

test("one sync is in flight at a time, and what was asked for meanwhile goes on from its position", async () => {
  const { client, socket } = connected();
  const syncs = () => socket.sent.filter(({ type }) => type === "sync");
  socket.answer({ type: "gap" });
  socket.answer({ type: "gap" });
  assert.equal(syncs().length, 1);
  socket.answer({ type: "synced", id: syncs()[0].id, conversations: [], position: "p1" });
  await settled();
  assert.deepEqual(
    syncs().map(({ since }) => since),
    [undefined, "p1"],
  );
  socket.answer({ type: "synced", id: syncs()[1].id, conversations: [], position: "p2" });
  await settled();
  assert.equal(syncs().length, 2);
  client.close();
});

test("a listed conversation keeps what events have changed that came before an older answer", async () => {
  const { client, socket } = connected();
  const sync = () => socket.sent.filter(({ type }) => type === "sync").at(-1).id;
  const listed = { id: "c", epoch: 1, seq: 5, members: ["ann", "bob"] };
  socket.answer({ type: "synced", id: sync(), conversations: [listed] });
  await settled();
  socket.answer({ type: "gap" });
  socket.answer({
    type: "event",
    event: { type: "members", conversation: "c", seq: 6, sender: "bob", content: { joined: ["eve"], left: [] } },
  });
  socket.answer({ type: "synced", id: sync(), conversations: [listed] });
  await settled();
  assert.deepEqual(client.conversation("c").members, ["ann", "bob", "eve"]);
  assert.equal(client.conversation("c").seq, 6);
  client.close();
});

test("a page of history that was asked for before the numbers began anew is dropped", async () => {
  const { client, shown, socket } = connected();
  const sent = (type) => socket.sent.filter((frame) => frame.type === type);
  const synced = (epoch, seq) =>
    socket.answer({
      type: "synced",
      id: sent("sync").at(-1).id,
      conversations: [{ id: "c", epoch, seq, members: [] }],
    });
  synced(1, 5);
  await settled();
  socket.answer({ type: "event", event: event(7) });
  socket.answer({ type: "gap" });
  synced(2, 1);
  await settled();
  socket.answer({ type: "event", event: event(2) });
  socket.answer({ type: "events", id: sent("history")[0].id, events: [event(6), event(7)], head: 7 });
  await settled();
  assert.equal(sent("history").at(-1).after, 0);
  socket.answer({ type: "events", id: sent("history").at(-1).id, events: [event(1), event(2)], head: 2 });
  await settled();
  assert.deepEqual(shown, [1, 2]);
  client.close();
});
