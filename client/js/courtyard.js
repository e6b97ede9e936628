// Courtyard's client: reconnects, resends, fills gaps. The protocol is docs/reference/protocol.md.

import { Marks } from "./marks.js";

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Returns a ULID: 48 bits of time, 80 random bits. */
export function ulid(now = Date.now()) {
  let text = "";
  for (let time = now, at = 0; at < 10; at++, time = Math.floor(time / 32)) text = CROCKFORD[time % 32] + text;
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) text += CROCKFORD[byte % 32];
  return text;
}

/** A failed request: a stable code, a sentence, and `retry`, true if a retry may succeed. */
export class CourtyardError extends Error {
  constructor(code, message, retry) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}

const OFFLINE = new CourtyardError("offline", "There is no connection to the server.", true);
/** Pause before the first reconnect, doubled each time up to the longest; milliseconds. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** Events of one page of history, and entries of one page of receipts. */
const PAGE = 200;
const RECEIPTS = 500;

/** Event type of each request type of the outbox. */
const EVENT_TYPES = { send: "message", edit: "edit", recall: "recall", react: "reaction", unreact: "reaction" };

/**
 * A connection that reconnects by itself.
 *
 * Events:
 * - `state` {state, retryAt?, code?}
 * - `event`: an event of the log, each once and in the order of its conversation; show only those of the type `message`, and
 *   fold the others into them (see `MessageList`)
 * - `synced`: all conversations
 * - `left` {conversation}: the caller isn't a member any more
 * - `marks` {conversation, read, delivered, unread, receipts}
 * - `typing` {conversation, actor, on}
 * - `reset` {conversation, epoch}: its numbering restarts, discard its events
 * - `signal` {plugin, name, payload}
 * - `sent` {id, ack}
 * - `refused` {id, message, error}
 */
export class Courtyard extends EventTarget {
  #options;
  #socket = null;
  #state = "offline";
  #requests = new Map();
  #outbox = new Map();
  #conversations = new Map();
  #listed = new Map();
  #position;
  #syncing;
  #isSyncWanted = false;
  #marks;
  #pause = FIRST_PAUSE;
  #timers = {};
  #stopped = true;
  #number = 0;

  /** @param {any} options {url, app?, device, token?, storage?, WebSocket?, delivers?: false to send no delivery receipts} */
  constructor(options) {
    super();
    this.#options = { app: "default", WebSocket: globalThis.WebSocket, storage: globalThis.localStorage, ...options };
    this.#marks = new Marks({
      request: (frame) => this.#request(frame),
      write: (frame) => this.#write(frame),
      online: () => this.#state === "online",
      actor: () => this.actor,
      resync: () => void this.#sync(),
      emit: (type, detail) => this.#emit(type, detail),
      delivers: this.#options.delivers !== false,
    });
    for (const message of this.#load()) this.#outbox.set(message.id, message);
  }

  get state() {
    return this.#state;
  }

  /** Requests without an ack, oldest first: messages (`type` is `send`) and acts on messages (with a `target`). */
  get unsent() {
    return [...this.#outbox.values()];
  }

  /** Connects, and reconnects until `close`. */
  connect(token = this.#options.token) {
    this.#options.token = token;
    this.#stopped = false;
    this.#open();
  }

  /** Closes the connection; unsent requests stay in the outbox. */
  close() {
    this.#stopped = true;
    this.#drop();
    this.#marks.stopTimers();
    this.#become("offline");
  }

  /** Marks everything up to `seq` as read, on all devices; resent after a broken connection. */
  markRead(conversation, seq) {
    this.#marks.markRead(conversation, seq);
  }

  /** Returns the read and delivery marks of a conversation, its unread count, and the receipts of the other members. */
  marks(conversation) {
    return this.#marks.get(conversation);
  }

  /** Signals to the other members that the user is typing; throttled, so call it on every key press. */
  typing(conversation) {
    this.#marks.sendTyping(conversation);
  }

  /** Sends a message, and resends it until it is acked. Resolves with the ack. */
  send(conversation, content, kind = "text") {
    return this.#enqueue({ type: "send", conversation, kind, content });
  }

  /** Replaces the content of an own message, named by its `seq`. Resent and acked like `send`. */
  edit(conversation, target, content) {
    return this.#enqueue({ type: "edit", conversation, target, content });
  }

  /** Deletes an own message for everybody; that can't be undone. Resent and acked like `send`. */
  recall(conversation, target) {
    return this.#enqueue({ type: "recall", conversation, target });
  }

  /** Reacts to a message with an emoji, or any text of up to 64 bytes. Resent and acked like `send`. */
  react(conversation, target, emoji) {
    return this.#enqueue({ type: "react", conversation, target, emoji });
  }

  /** Removes a reaction. Resent and acked like `send`. */
  unreact(conversation, target, emoji) {
    return this.#enqueue({ type: "unreact", conversation, target, emoji });
  }

  #enqueue(request) {
    const message = { ...request, id: ulid() };
    this.#outbox.set(message.id, message);
    this.#save();
    const sent = new Promise((resolve, reject) => this.#requests.set(message.id, { resolve, reject, keep: true }));
    // Callers who only listen to events need not handle the promise.
    sent.catch(() => {});
    if (this.#state === "online" && this.#isNext(message)) this.#write(message);
    return Object.assign(sent, { id: message.id });
  }

  /** Concurrent acts may overtake each other, so acts on one message are sent one after the other. */
  #isNext(message) {
    return !message.target || this.#firstAct(message) === message;
  }

  #firstAct({ conversation, target }) {
    for (const other of this.#outbox.values()) {
      if (other.target === target && other.conversation === conversation) return other;
    }
    return undefined;
  }

  /** Removes an answered request from the outbox, and sends the act that waited for it. */
  #settle(message) {
    this.#outbox.delete(message.id);
    this.#save();
    const next = message.target && this.#firstAct(message);
    if (next && this.#state === "online") this.#write(next);
  }

  /** Calls a method of a plugin. */
  async call(method, params = {}) {
    return (await this.#request({ type: "call", method, params })).value;
  }

  /** Fetches events: `{after}`, `{before}` or the newest. */
  history(conversation, range = {}) {
    return this.#request({ type: "history", conversation, ...range });
  }

  /** Returns a conversation as in `synced`, with its current members and newest event. */
  conversation(id) {
    return this.#listed.get(id);
  }

  /** Requests changes, as after each connect. Needed only after creating a conversation: the server pushes all other changes. */
  sync() {
    return this.#sync();
  }

  /** Fetches the receipts of all members of a conversation, and stores them in its `marks`. */
  async receipts(conversation) {
    for (let after; ;) {
      const from = after === undefined ? {} : { after_actor: after };
      const { receipts } = await this.#request({ type: "receipts", conversation, limit: RECEIPTS, ...from });
      this.#marks.storeReceipts(conversation, receipts);
      if (receipts.length < RECEIPTS) return this.marks(conversation).receipts;
      after = receipts.at(-1).actor;
    }
  }

  /** Signs in on an anonymous connection; later connections use the token too. */
  async auth(token) {
    const welcome = await this.#request({ type: "auth", token, device: this.#options.device });
    this.#options.token = token;
    this.#signedIn(welcome);
    return welcome;
  }

  #request(frame) {
    if (this.#socket?.readyState !== 1) {
      if (this.#state !== "connecting") return Promise.reject(OFFLINE);
      // Requests made while the client is connecting are queued.
      return new Promise((resolve) =>
        this.addEventListener("state", () => resolve(this.#request(frame)), { once: true }),
      );
    }
    const id = `r${++this.#number}`;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.#write({ ...frame, id });
    });
  }

  #open() {
    clearTimeout(this.#timers.retry);
    this.#drop();
    this.#become("connecting");
    const socket = new this.#options.WebSocket(this.#options.url);
    this.#socket = socket;
    socket.onopen = () => {
      const { app, device, token } = this.#options;
      this.#write({ type: "hello", protocol: 1, app, ...(token ? { token, device } : {}) });
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
    this.#expectFrame(LONGEST_PAUSE);
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timers.heartbeat);
    clearTimeout(this.#timers.retry);
    clearTimeout(this.#timers.sync);
    if (socket) {
      socket.onclose = socket.onmessage = socket.onopen = null;
      socket.close();
    }
    for (const [id, request] of this.#requests) {
      if (request.keep) continue;
      this.#requests.delete(id);
      request.reject(OFFLINE);
    }
  }

  #closed(code) {
    this.#drop();
    if (this.#stopped) return;
    if (code === 4101 || code === 4100 || code === 1003 || code === 1007 || code === 1009) {
      this.#stopped = true;
      this.#become("ended", { code });
      return;
    }
    const wait = this.#pause * (0.5 + Math.random() / 2);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    this.#become("offline", { retryAt: Date.now() + wait });
    this.#timers.retry = setTimeout(() => this.#open(), wait);
  }

  #write(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  /** Restarts the heartbeat: after `silence` milliseconds without a frame it sends a ping, after as many more it reconnects. */
  #expectFrame(silence) {
    clearTimeout(this.#timers.heartbeat);
    this.#timers.heartbeat = setTimeout(() => {
      if (this.#state === "online" || this.#state === "anonymous") this.#write({ type: "ping" });
      this.#timers.heartbeat = setTimeout(() => this.#closed(0), silence);
    }, silence);
  }

  #receive(frame) {
    this.#expectFrame(this.heartbeat ?? LONGEST_PAUSE);
    switch (frame.type) {
      case "welcome":
        if (frame.id) return this.#settleRequest(frame);
        this.heartbeat = frame.heartbeat_ms;
        this.#pause = FIRST_PAUSE;
        if (frame.actor) this.#signedIn(frame);
        else this.#become("anonymous");
        return;
      case "event":
        return this.#receiveEvent(frame.event);
      case "signal":
        return this.#emit("signal", { plugin: frame.plugin, name: frame.name, payload: frame.payload });
      case "receipt":
        return this.#marks.receiveReceipt(frame);
      case "typing":
        return this.#marks.receiveTyping(frame);
      case "ack":
        return this.#receiveAck(frame);
      case "gap":
        return void this.#sync();
      case "error":
      case "result":
      case "synced":
      case "marked":
      case "receipts":
      case "events":
        return this.#settleRequest(frame);
    }
  }

  #settleRequest(frame) {
    const request = this.#requests.get(frame.id);
    if (frame.type !== "error") {
      this.#requests.delete(frame.id);
      return request?.resolve(frame);
    }
    const error = new CourtyardError(frame.code, frame.message, frame.retry);
    const message = this.#outbox.get(frame.id);
    if (message && frame.retry) {
      // The request keeps its place in the outbox, and is resent under the same id.
      setTimeout(() => this.#state === "online" && this.#outbox.has(frame.id) && this.#write(message), this.#pause);
      return;
    }
    this.#requests.delete(frame.id);
    request?.reject(error);
    if (message) {
      this.#settle(message);
      this.#emit("refused", { id: frame.id, message, error });
    }
  }

  #receiveAck(ack) {
    const message = this.#outbox.get(ack.id);
    if (message) this.#settle(message);
    this.#requests.get(ack.id)?.resolve(ack);
    this.#requests.delete(ack.id);
    this.#emit("sent", { id: ack.id, ack });
    if (!message) return;
    // The session that sent the request gets the ack instead of the event.
    const { type, conversation, target, kind = "", content = {}, emoji } = message;
    const reaction = emoji === undefined ? undefined : { emoji, on: type === "react" };
    this.#receiveEvent({
      type: EVENT_TYPES[type],
      id: ack.event,
      conversation,
      seq: ack.seq,
      ...(target && { target }),
      kind,
      content: ack.content ?? reaction ?? content,
      sender: this.actor,
      client_id: ack.id,
      time: ack.time,
    });
  }

  #signedIn(welcome) {
    if (this.actor !== welcome.actor) this.#forget();
    this.actor = welcome.actor;
    this.#become("online");
    void this.#sync();
    this.#marks.resume();
    for (const message of this.#outbox.values()) if (this.#isNext(message)) this.#write(message);
  }

  /**
   * Requests changes. One request at a time is in flight, so that no older answer follows a newer one; a call meanwhile causes
   * one more request, which continues from the position of the one before.
   */
  #sync() {
    this.#isSyncWanted = true;
    this.#syncing ??= this.#syncAll();
    return this.#syncing;
  }

  async #syncAll() {
    try {
      while (this.#isSyncWanted) {
        this.#isSyncWanted = false;
        await this.#synchronize();
      }
    } catch (error) {
      if (!error.retry) throw error;
    } finally {
      this.#syncing = undefined;
    }
  }

  async #synchronize() {
    const since = this.#position && { since: this.#position };
    const synced = await this.#request({ type: "sync", ...since });
    this.#position = synced.position;
    for (const id of synced.left ?? []) this.#leave(id);
    for (const conversation of synced.conversations) {
      this.#listed.set(conversation.id, newer(conversation, this.#listed.get(conversation.id)));
      const known = this.#known(conversation.id, conversation.last ? conversation.seq - 1 : conversation.seq);
      if (known.epoch !== undefined && known.epoch !== conversation.epoch) {
        known.seq = 0;
        known.waiting.clear();
        this.#emit("reset", { conversation: conversation.id, epoch: conversation.epoch });
      }
      known.epoch = conversation.epoch;
      if (conversation.last) this.#receiveEvent(conversation.last);
      this.#marks.update(conversation);
    }
    // Gaps that an earlier connection left aren't listed again.
    for (const [id, known] of this.#conversations) this.#complete(id, known);
    this.#emit("synced", [...this.#listed.values()]);
  }

  #leave(id) {
    if (!this.#listed.delete(id)) return;
    this.#conversations.delete(id);
    this.#marks.forget(id);
    this.#emit("left", { conversation: id });
  }

  /** Discards the state of another actor. */
  #forget() {
    this.#position = undefined;
    this.#listed.clear();
    this.#marks.clear();
  }

  /** Returns the sequence state of a conversation; a new one starts at `seq`. */
  #known(id, seq) {
    let known = this.#conversations.get(id);
    if (!known) this.#conversations.set(id, (known = { seq, waiting: new Map(), filling: false }));
    return known;
  }

  /** Emits an event once all earlier ones of its conversation were emitted. */
  #receiveEvent(event) {
    const known = this.#known(event.conversation, event.seq - 1);
    if (event.seq <= known.seq) return;
    known.waiting.set(event.seq, event);
    this.#emitNext(known);
    this.#complete(event.conversation, known);
  }

  /** Starts to fetch missing events, if there are any. */
  #complete(conversation, known) {
    if (known.waiting.size > 0 && !known.filling) void this.#fill(conversation, known);
  }

  #emitNext(known) {
    for (let event; (event = known.waiting.get(known.seq + 1));) {
      known.waiting.delete(event.seq);
      known.seq = event.seq;
      this.#marks.receiveEvent(event);
      this.#updateListed(event);
      this.#emit("event", event);
    }
    for (const seq of known.waiting.keys()) if (seq <= known.seq) known.waiting.delete(seq);
  }

  /** Updates the listed conversation of an event. */
  #updateListed(event) {
    const listed = this.#listed.get(event.conversation);
    const { joined = [], left = [] } = event.type === "members" ? event.content : {};
    if (listed && event.seq > listed.seq) {
      const gone = new Set(left);
      const members = [...new Set([...listed.members, ...joined])].filter((actor) => !gone.has(actor));
      Object.assign(listed, { last: event, seq: event.seq, members });
    }
    // Joins and leaves of the caller need a sync: the event doesn't list the other members, and may be outdated.
    if (!listed || joined.includes(this.actor) || left.includes(this.actor)) this.#syncSoon();
  }

  #syncSoon() {
    clearTimeout(this.#timers.sync);
    this.#timers.sync = setTimeout(() => void this.#sync(), 0);
  }

  async #fill(conversation, known) {
    known.filling = true;
    try {
      while (known.waiting.size > 0) {
        const { epoch } = known;
        const page = await this.history(conversation, { after: known.seq, limit: PAGE });
        if (this.#conversations.get(conversation) !== known) break;
        // The numbering restarted meanwhile; this page is from before.
        if (epoch !== undefined && known.epoch !== epoch) continue;
        if (page.events.length === 0) break;
        for (const event of page.events) if (event.seq > known.seq) known.waiting.set(event.seq, event);
        this.#emitNext(known);
      }
    } catch {
      // The next connection tries again.
    } finally {
      known.filling = false;
    }
  }

  #become(state, more = {}) {
    this.#state = state;
    this.#emit("state", { state, ...more });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #load() {
    try {
      return JSON.parse(this.#options.storage?.getItem("courtyard.outbox") ?? "[]");
    } catch {
      return [];
    }
  }

  #save() {
    this.#options.storage?.setItem("courtyard.outbox", JSON.stringify(this.unsent));
  }
}

/** Returns a listed conversation from an answer, with the changes of later events that arrived before it. */
function newer(answer, listed) {
  if (listed?.epoch !== answer.epoch || listed.seq <= answer.seq) return answer;
  const { seq, last, members } = listed;
  return { ...answer, seq, last, members };
}

/** Returns the `seq` of the message that a message replies to, if it is a reply. */
export function replyTo({ seq, content }) {
  const target = content?.reply_to;
  return Number.isSafeInteger(target) && target > 0 && !(target >= seq) ? target : undefined;
}

/** Applies an edit, a recall, a reaction or an annotation to a message; other events leave it unchanged. */
export function revised(message, event) {
  const { reactions = [], annotations = [] } = message;
  if (message.recalled) return message;
  switch (event.type) {
    case "edit":
      return { ...message, content: event.content, edited: event.time };
    case "recall":
      return { ...message, content: {}, edited: undefined, recalled: true, reactions: [], annotations: [] };
    case "reaction":
      return { ...message, reactions: withReaction(reactions, event.content, event.sender) };
    case "annotation": {
      const note = { plugin: event.sender, name: event.kind, value: event.content.value };
      const same = ({ plugin, name }) => plugin === note.plugin && name === note.name;
      const others = annotations.some(same) ? annotations : [...annotations, note];
      return { ...message, annotations: others.map((other) => (same(other) ? note : other)) };
    }
    default:
      return message;
  }
}

function withReaction(reactions, { emoji, on }, actor) {
  const known = reactions.find((reaction) => reaction.emoji === emoji);
  if (!known) return on ? [...reactions, { emoji, actors: [actor] }] : reactions;
  const others = known.actors.filter((other) => other !== actor);
  const actors = !on ? others : others.length < known.actors.length ? known.actors : [...others, actor];
  return reactions.flatMap((reaction) =>
    reaction !== known ? [reaction] : actors.length > 0 ? [{ emoji, actors }] : [],
  );
}

/**
 * The messages of one conversation, each with its current `content`, `edited`, `recalled`, `reactions` and `annotations`.
 * Live events and pages of history can be added in any order, and more than once.
 */
export class MessageList {
  #entries = new Map();
  #first = Infinity;

  /**
   * Adds an event. `head` is the `seq` of the newest event that the server folded into it: for an event of a page, the page's
   * `head`. Returns the new or changed message, if any.
   */
  add(event, head = event.seq) {
    this.#first = Math.min(this.#first, event.seq);
    if (event.type === "message") return this.#addMessage(event, Math.max(head, event.seq));
    return event.target ? this.#addChange(event) : undefined;
  }

  /** Adds a page of `history`. */
  addPage({ events, head }) {
    for (const event of events) this.add(event, head);
  }

  /** Removes all messages. */
  clear() {
    this.#entries.clear();
    this.#first = Infinity;
  }

  /** Returns a message by its `seq`. */
  get(seq) {
    return this.#entries.get(seq)?.message;
  }

  /** The lowest `seq` of all added events, where older history ends; Infinity before the first. */
  get first() {
    return this.#first;
  }

  /** The messages, oldest first. */
  get messages() {
    const messages = [...this.#entries.values()].flatMap(({ message }) => message ?? []);
    return messages.sort((left, right) => left.seq - right.seq);
  }

  #entry(seq) {
    let entry = this.#entries.get(seq);
    // A change may arrive before its message, which an older page brings, or none.
    if (!entry) this.#entries.set(seq, (entry = { base: undefined, head: 0, changes: [], message: undefined }));
    return entry;
  }

  #addMessage(event, head) {
    const entry = this.#entry(event.seq);
    if (entry.base && head < entry.head) return undefined;
    const base = { recalled: false, reactions: [], annotations: [], ...event };
    return this.#fold(Object.assign(entry, { base, head }));
  }

  #addChange(event) {
    const entry = this.#entry(event.target);
    if (event.seq <= entry.head || entry.changes.some(({ seq }) => seq === event.seq)) return undefined;
    entry.changes.push(event);
    entry.changes.sort((left, right) => left.seq - right.seq);
    return entry.base && this.#fold(entry);
  }

  #fold(entry) {
    entry.changes = entry.changes.filter(({ seq }) => seq > entry.head);
    entry.message = entry.changes.reduce(revised, entry.base);
    if (entry.message.recalled) {
      // The old content leaves memory, and no older page restores it.
      Object.assign(entry, { base: entry.message, head: Infinity, changes: [] });
    }
    return entry.message;
  }
}
