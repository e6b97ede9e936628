// Courtyard's client: connects, resends, fills gaps. The protocol is docs/reference/protocol.md.

import { Marks } from "./marks.js";

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Makes a ULID: 48 bits of time, 80 random bits. */
export function ulid(now = Date.now()) {
  let text = "";
  for (let time = now, at = 0; at < 10; at++, time = Math.floor(time / 32)) text = CROCKFORD[time % 32] + text;
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) text += CROCKFORD[byte % 32];
  return text;
}

/** A request that failed: a stable code, a sentence, and whether a retry helps. */
export class CourtyardError extends Error {
  constructor(code, message, retry) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}

const OFFLINE = new CourtyardError("offline", "There is no connection.", true);
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
const PAGE = 200;
const RECEIPTS = 500;

/** The type of the event that each request of the outbox becomes. */
const BECOMES = { send: "message", edit: "edit", recall: "recall", react: "reaction", unreact: "reaction" };

/**
 * A connection that mends itself.
 *
 * Events: `state` (detail: {state, retryAt?, code?}), `event` (detail: an event of the log, each once and in the order of
 * its conversation; its `type` says what it is, and only `message` is one to show as such: see `MessageList`), `synced`
 * (detail: all conversations), `left` (detail: {conversation}: this one is no member any more), `marks` (detail:
 * {conversation, read, delivered, unread, receipts}), `typing` (detail: {conversation, actor, on}), `reset` (detail:
 * {conversation, epoch}: its numbers begin anew, forget its events), `signal` (detail: {plugin, name, payload}), `sent`
 * (detail: {id, ack}), `refused` (detail: {id, message, error}).
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

  /** @param options {url, app?, device, token?, storage?, WebSocket?, delivers?: false to keep it to oneself what arrived} */
  constructor(options) {
    super();
    this.#options = { app: "default", WebSocket: globalThis.WebSocket, storage: globalThis.localStorage, ...options };
    this.#marks = new Marks({
      request: (frame) => this.#request(frame),
      write: (frame) => this.#write(frame),
      online: () => this.#state === "online",
      actor: () => this.actor,
      resync: () => void this.#sync(),
      tell: (type, detail) => this.#tell(type, detail),
      delivers: this.#options.delivers !== false,
    });
    for (const message of this.#load()) this.#outbox.set(message.id, message);
  }

  get state() {
    return this.#state;
  }

  /** What is not acked yet, oldest first: messages (`type` is `send`) and acts on messages (with a `target`). */
  get unsent() {
    return [...this.#outbox.values()];
  }

  /** Connects, and stays connected until `close`. */
  connect(token = this.#options.token) {
    this.#options.token = token;
    this.#stopped = false;
    this.#open();
  }

  /** Ends the connection; what is unsent stays. */
  close() {
    this.#stopped = true;
    this.#drop();
    this.#marks.rest();
    this.#become("offline");
  }

  /** Says that everything up to `seq` was read, on all devices; again after a broken connection. */
  markRead(conversation, seq) {
    this.#marks.markRead(conversation, seq);
  }

  /** What is read and unread in a conversation, and up to where the others have it. */
  marks(conversation) {
    return this.#marks.get(conversation);
  }

  /** Tells the others that one is writing; may be called with every key. */
  typing(conversation) {
    this.#marks.write(conversation);
  }

  /** Sends a message; it is resent until the server has it. Resolves with the ack. */
  send(conversation, content, kind = "text") {
    return this.#put({ type: "send", conversation, kind, content });
  }

  /** Puts another content in the place of that of an own message, given by its `seq`. Resent and answered like `send`. */
  edit(conversation, target, content) {
    return this.#put({ type: "edit", conversation, target, content });
  }

  /** Takes an own message back for everyone; that can't be undone. Resent and answered like `send`. */
  recall(conversation, target) {
    return this.#put({ type: "recall", conversation, target });
  }

  /** Reacts to a message with an emoji, or any text of up to 64 bytes. Resent and answered like `send`. */
  react(conversation, target, emoji) {
    return this.#put({ type: "react", conversation, target, emoji });
  }

  /** Takes a reaction back. Resent and answered like `send`. */
  unreact(conversation, target, emoji) {
    return this.#put({ type: "unreact", conversation, target, emoji });
  }

  #put(request) {
    const message = { ...request, id: ulid() };
    this.#outbox.set(message.id, message);
    this.#save();
    const sent = new Promise((resolve, reject) => this.#requests.set(message.id, { resolve, reject, keep: true }));
    // Whoever only listens to events need not handle the promise.
    sent.catch(() => {});
    if (this.#state === "online" && this.#isNext(message)) this.#write(message);
    return Object.assign(sent, { id: message.id });
  }

  /** Acts that are on their way together may overtake each other, so those on one message go one after the other. */
  #isNext(message) {
    return !message.target || this.#firstAct(message) === message;
  }

  #firstAct({ conversation, target }) {
    for (const other of this.#outbox.values()) {
      if (other.target === target && other.conversation === conversation) return other;
    }
    return undefined;
  }

  /** Forgets what has its answer, and writes what waited for it. */
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

  /** Reads events: `{after}`, `{before}` or the newest. */
  history(conversation, range = {}) {
    return this.#request({ type: "history", conversation, ...range });
  }

  /** Returns a conversation as it is in `synced`, with its members and its newest event of now. */
  conversation(id) {
    return this.#listed.get(id);
  }

  /** Asks for what changed, as after each connect. The server tells most by itself, but not that one began a conversation. */
  sync() {
    return this.#sync();
  }

  /** Reads up to where the members of a conversation have it; `marks` knows it from then on. */
  async receipts(conversation) {
    for (let after; ; ) {
      const from = after === undefined ? {} : { after_actor: after };
      const { receipts } = await this.#request({ type: "receipts", conversation, limit: RECEIPTS, ...from });
      this.#marks.take(conversation, receipts);
      if (receipts.length < RECEIPTS) return this.marks(conversation).receipts;
      after = receipts.at(-1).actor;
    }
  }

  /** Signs in on an anonymous connection; later connections use the token as well. */
  async auth(token) {
    const welcome = await this.#request({ type: "auth", token, device: this.#options.device });
    this.#options.token = token;
    this.#signedIn(welcome);
    return welcome;
  }

  #request(frame) {
    if (this.#socket?.readyState !== 1) {
      if (this.#state !== "connecting") return Promise.reject(OFFLINE);
      // Whoever is quick does not see a connection that is about to be there as a broken one.
      return new Promise((decided) => this.addEventListener("state", () => decided(this.#request(frame)), { once: true }));
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
    this.#listenFor(LONGEST_PAUSE);
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

  /** Any frame shows life; after a silence the server is asked for a sign, after another one the link is dead. */
  #listenFor(silence) {
    clearTimeout(this.#timers.heartbeat);
    this.#timers.heartbeat = setTimeout(() => {
      if (this.#state === "online" || this.#state === "anonymous") this.#write({ type: "ping" });
      this.#timers.heartbeat = setTimeout(() => this.#closed(0), silence);
    }, silence);
  }

  #receive(frame) {
    this.#listenFor(this.heartbeat ?? LONGEST_PAUSE);
    switch (frame.type) {
      case "welcome":
        if (frame.id) return this.#answer(frame);
        this.heartbeat = frame.heartbeat_ms;
        this.#pause = FIRST_PAUSE;
        if (frame.actor) this.#signedIn(frame);
        else this.#become("anonymous");
        return;
      case "event":
        return this.#arrive(frame.event);
      case "signal":
        return this.#tell("signal", { plugin: frame.plugin, name: frame.name, payload: frame.payload });
      case "receipt":
        return this.#marks.receipt(frame);
      case "typing":
        return this.#marks.typing(frame);
      case "ack":
        return this.#acked(frame);
      case "gap":
        return void this.#sync();
      case "error":
      case "result":
      case "synced":
      case "marked":
      case "receipts":
      case "events":
        return this.#answer(frame);
    }
  }

  #answer(frame) {
    const request = this.#requests.get(frame.id);
    if (frame.type !== "error") {
      this.#requests.delete(frame.id);
      return request?.resolve(frame);
    }
    const error = new CourtyardError(frame.code, frame.message, frame.retry);
    const message = this.#outbox.get(frame.id);
    if (message && frame.retry) {
      // It keeps its place; what stands behind it is sent again as well, which the server answers once.
      setTimeout(() => this.#state === "online" && this.#outbox.has(frame.id) && this.#write(message), this.#pause);
      return;
    }
    this.#requests.delete(frame.id);
    request?.reject(error);
    if (message) {
      this.#settle(message);
      this.#tell("refused", { id: frame.id, message, error });
    }
  }

  #acked(ack) {
    const message = this.#outbox.get(ack.id);
    if (message) this.#settle(message);
    this.#requests.get(ack.id)?.resolve(ack);
    this.#requests.delete(ack.id);
    this.#tell("sent", { id: ack.id, ack });
    if (!message) return;
    // The session that asked gets the ack in the place of the event.
    const { type, conversation, target, kind = "", content = {}, emoji } = message;
    const reaction = emoji === undefined ? undefined : { emoji, on: type === "react" };
    this.#arrive({
      type: BECOMES[type], id: ack.event, conversation, seq: ack.seq, ...(target && { target }), kind,
      content: ack.content ?? reaction ?? content, sender: this.actor, client_id: ack.id, time: ack.time,
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
   * Asks for what changed. One request at a time is in flight, so that no older answer comes after a newer one; a call
   * meanwhile leads to one more, which goes on from the position of the one before.
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
        this.#tell("reset", { conversation: conversation.id, epoch: conversation.epoch });
      }
      known.epoch = conversation.epoch;
      if (conversation.last) this.#arrive(conversation.last);
      this.#marks.list(conversation);
    }
    // What an earlier connection could not fetch is not listed again.
    for (const [id, known] of this.#conversations) this.#complete(id, known);
    this.#tell("synced", [...this.#listed.values()]);
  }

  #leave(id) {
    if (!this.#listed.delete(id)) return;
    this.#conversations.delete(id);
    this.#marks.forget(id);
    this.#tell("left", { conversation: id });
  }

  /** Somebody else signs in, who has other conversations. */
  #forget() {
    this.#position = undefined;
    this.#listed.clear();
    this.#marks.clear();
  }

  /** Returns what is known of a conversation; events count from where it is first seen. */
  #known(id, seq) {
    let known = this.#conversations.get(id);
    if (!known) this.#conversations.set(id, (known = { seq, waiting: new Map(), filling: false }));
    return known;
  }

  /** Shows an event in its turn. */
  #arrive(event) {
    const known = this.#known(event.conversation, event.seq - 1);
    if (event.seq <= known.seq) return;
    known.waiting.set(event.seq, event);
    this.#show(known);
    this.#complete(event.conversation, known);
  }

  #complete(conversation, known) {
    if (known.waiting.size > 0 && !known.filling) void this.#fill(conversation, known);
  }

  #show(known) {
    for (let event; (event = known.waiting.get(known.seq + 1)); ) {
      known.waiting.delete(event.seq);
      known.seq = event.seq;
      this.#marks.arrive(event);
      this.#list(event);
      this.#tell("event", event);
    }
    for (const seq of known.waiting.keys()) if (seq <= known.seq) known.waiting.delete(seq);
  }

  /** Keeps what is listed of a conversation up to date. */
  #list(event) {
    const listed = this.#listed.get(event.conversation);
    const { joined = [], left = [] } = event.type === "members" ? event.content : {};
    if (listed && event.seq > listed.seq) {
      const gone = new Set(left);
      const members = [...new Set([...listed.members, ...joined])].filter((actor) => !gone.has(actor));
      Object.assign(listed, { last: event, seq: event.seq, members });
    }
    // What begins or ends for oneself only the server can tell: who else is in it, or whether one is back already.
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
        // The numbers began anew meanwhile; these are of before.
        if (epoch !== undefined && known.epoch !== epoch) continue;
        if (page.events.length === 0) break;
        for (const event of page.events) if (event.seq > known.seq) known.waiting.set(event.seq, event);
        this.#show(known);
      }
    } catch {
      // The next connection comes here again.
    } finally {
      known.filling = false;
    }
  }

  #become(state, more = {}) {
    this.#state = state;
    this.#tell("state", { state, ...more });
  }

  #tell(type, detail) {
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

/** Returns what is listed of a conversation: an answer, with what later events that came before it have changed. */
function newer(answer, listed) {
  if (listed?.epoch !== answer.epoch || listed.seq <= answer.seq) return answer;
  const { seq, last, members } = listed;
  return { ...answer, seq, last, members };
}

/** Returns the number of the message that a message is a reply to, if it is one. */
export function replyTo({ seq, content }) {
  const target = content?.reply_to;
  return Number.isSafeInteger(target) && target > 0 && !(target >= seq) ? target : undefined;
}

/** Returns a message as it is after an edit, a recall, a reaction or an annotation; others leave it as it is. */
export function revised(message, event) {
  const { reactions = [], annotations = [] } = message;
  if (message.recalled) return message;
  switch (event.type) {
    case "edit":
      return { ...message, content: event.content, edited: event.time };
    case "recall":
      return { ...message, content: {}, edited: undefined, recalled: true, reactions: [], annotations: [] };
    case "reaction":
      return { ...message, reactions: reacted(reactions, event.content, event.sender) };
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

function reacted(reactions, { emoji, on }, actor) {
  const known = reactions.find((reaction) => reaction.emoji === emoji);
  if (!known) return on ? [...reactions, { emoji, actors: [actor] }] : reactions;
  const others = known.actors.filter((other) => other !== actor);
  const actors = !on ? others : others.length < known.actors.length ? known.actors : [...others, actor];
  return reactions.flatMap((reaction) =>
    reaction !== known ? [reaction] : actors.length > 0 ? [{ emoji, actors }] : []);
}

/**
 * The messages of one conversation, each with `content`, `edited`, `recalled`, `reactions` and `annotations` as they are
 * now. It takes live events and pages of history in any order, the same ones more than once as well.
 */
export class MessageList {
  #entries = new Map();
  #first = Infinity;

  /**
   * Takes an event. `head` is the number of the newest event that the server had folded into it: of a page, its `head`.
   * Returns the message that is new or changed, if there is one.
   */
  add(event, head = event.seq) {
    this.#first = Math.min(this.#first, event.seq);
    if (event.type === "message") return this.#addMessage(event, Math.max(head, event.seq));
    return event.target ? this.#addChange(event) : undefined;
  }

  /** Takes what `history` returned. */
  addPage({ events, head }) {
    for (const event of events) this.add(event, head);
  }

  /** Forgets everything. */
  clear() {
    this.#entries.clear();
    this.#first = Infinity;
  }

  /** Returns a message by its number. */
  get(seq) {
    return this.#entries.get(seq)?.message;
  }

  /** The lowest number of all events that were added, messages or not: where older history begins. None yet: Infinity. */
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
    // A change may come before its message does: an older page is on its way then, or is never read.
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
      // Nothing of what was said stays in memory, and no older page brings it back.
      Object.assign(entry, { base: entry.message, head: Infinity, changes: [] });
    }
    return entry.message;
  }
}
