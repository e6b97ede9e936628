// Read and delivery marks, unread counts and typing: docs/reference/protocol.md, Receipts and Typing.

/** Milliseconds for which delivery receipts are collected before one request. */
const DELIVERED_PAUSE = 1_000;
/** Least milliseconds between two typing frames of one conversation. */
const TYPING_INTERVAL = 3_000;
/** Milliseconds after which a member without a new typing frame counts as not typing. */
const TYPING_SHOWN = 6_000;
/** The server's upper bound of unread counts. */
const MANY = 100;

const maximum = (known, { delivered, read }) => ({
  delivered: Math.max(known?.delivered ?? 0, delivered),
  read: Math.max(known?.read ?? 0, read),
});

/** The marks of all conversations. Sends the caller's own with as few requests as possible. */
export class Marks {
  #client;
  #conversations = new Map();
  #typed = new Map();
  #typing = new Map();

  /** @param {any} client {request(frame), write(frame), online(), actor(), resync(), emit(type, detail), delivers} */
  constructor(client) {
    this.#client = client;
  }

  /** Returns the marks of a conversation: `{read, delivered, unread, receipts: [{actor, delivered, read}]}`. */
  get(conversation) {
    const state = this.#state(conversation);
    const fresh = state.fresh.filter((seq) => seq > Math.max(state.read, state.listed)).length;
    const receipts = [...state.receipts].map(([actor, mark]) => ({ actor, ...mark }));
    return { read: state.read, delivered: state.delivered, unread: Math.min(state.behind + fresh, MANY), receipts };
  }

  /** Applies an entry of `synced`. */
  update(entry) {
    const state = this.#state(entry.id);
    state.listed = entry.seq;
    state.behind = entry.unread ?? 0;
    state.fresh = state.fresh.filter((seq) => seq > entry.seq);
    for (const { actor, ...mark } of entry.receipts ?? []) state.receipts.set(actor, mark);
    this.#move(entry.id, state, { read: entry.read ?? 0, delivered: entry.delivered ?? 0 }, true);
    this.#deliver(entry.id, state, entry.last?.sender === this.#client.actor() ? 0 : entry.seq);
  }

  /** Removes all marks, when another actor signs in. */
  clear() {
    for (const conversation of [...this.#conversations.keys()]) this.forget(conversation);
  }

  /** Removes the marks of a conversation. */
  forget(conversation) {
    clearTimeout(this.#conversations.get(conversation)?.timer);
    this.#conversations.delete(conversation);
  }

  /** Applies an event; they must come in the order of their conversation. */
  receiveEvent(event) {
    const state = this.#state(event.conversation);
    if (event.type === "message") this.#stopTyping(event.conversation, event.sender);
    if (event.sender === this.#client.actor()) return;
    if (event.type === "message" && event.seq > Math.max(state.listed, state.read)) {
      state.fresh.push(event.seq);
      // At the server's upper bound the single numbers don't matter any more.
      if (state.fresh.length >= MANY) Object.assign(state, { behind: MANY, listed: event.seq, fresh: [] });
      this.#emit(event.conversation);
    }
    this.#deliver(event.conversation, state, event.seq);
  }

  /** Applies a `receipt` frame. */
  receiveReceipt({ conversation, actor, delivered, read }) {
    const state = this.#state(conversation);
    if (actor === this.#client.actor()) return this.#move(conversation, state, { delivered, read });
    state.receipts.set(actor, maximum(state.receipts.get(actor), { delivered, read }));
    this.#emit(conversation);
  }

  /** Applies the receipts of several members. */
  storeReceipts(conversation, receipts) {
    const { receipts: known } = this.#state(conversation);
    for (const { actor, delivered, read } of receipts) {
      if (actor !== this.#client.actor()) known.set(actor, maximum(known.get(actor), { delivered, read }));
    }
    this.#emit(conversation);
  }

  /** Marks everything up to `seq` as read; resent after a broken connection. */
  markRead(conversation, seq) {
    const state = this.#state(conversation);
    if (seq <= Math.max(state.read, state.wanted.read)) return;
    state.wanted.read = seq;
    void this.#flush(conversation, state);
  }

  /** Sends the marks that an earlier connection couldn't send. */
  resume() {
    for (const [conversation, state] of this.#conversations) void this.#flush(conversation, state);
  }

  /** Sends a typing frame, at most one per [`TYPING_INTERVAL`]. */
  sendTyping(conversation, now = Date.now()) {
    if (!this.#client.online() || now - (this.#typed.get(conversation) ?? -Infinity) < TYPING_INTERVAL) return;
    this.#typed.set(conversation, now);
    this.#client.write({ type: "typing", conversation });
  }

  /** Applies a `typing` frame. */
  receiveTyping({ conversation, actor }) {
    const key = `${conversation} ${actor}`;
    clearTimeout(this.#typing.get(key));
    this.#typing.set(
      key,
      setTimeout(() => this.#stopTyping(conversation, actor), TYPING_SHOWN),
    );
    this.#client.emit("typing", { conversation, actor, on: true });
  }

  /** Stops all timers. */
  stopTimers() {
    for (const timer of this.#typing.values()) clearTimeout(timer);
    for (const state of this.#conversations.values()) clearTimeout(state.timer);
    this.#typing.clear();
  }

  #stopTyping(conversation, actor) {
    const key = `${conversation} ${actor}`;
    if (!this.#typing.has(key)) return;
    clearTimeout(this.#typing.get(key));
    this.#typing.delete(key);
    this.#client.emit("typing", { conversation, actor, on: false });
  }

  #state(conversation) {
    let state = this.#conversations.get(conversation);
    if (!state) {
      // `behind` counts the unread messages up to `listed`; `fresh` has the numbers of later ones.
      state = {
        read: 0,
        delivered: 0,
        listed: 0,
        behind: 0,
        fresh: [],
        receipts: new Map(),
        wanted: { read: 0, delivered: 0 },
        busy: false,
        timer: undefined,
      };
      this.#conversations.set(conversation, state);
    }
    return state;
  }

  /** Advances the caller's own marks. */
  #move(conversation, state, { delivered, read }, listed = false) {
    const moved = read > state.read;
    state.delivered = Math.max(state.delivered, delivered, read);
    state.read = Math.max(state.read, read);
    state.fresh = state.fresh.filter((seq) => seq > state.read);
    if (!listed && moved && state.behind > 0) {
      // Only the server knows how many of them are still unread.
      if (state.read >= state.listed) state.behind = 0;
      else this.#client.resync();
    }
    this.#emit(conversation);
  }

  #deliver(conversation, state, seq) {
    if (!this.#client.delivers || seq <= Math.max(state.delivered, state.wanted.delivered)) return;
    state.wanted.delivered = seq;
    state.timer ??= setTimeout(() => {
      state.timer = undefined;
      void this.#flush(conversation, state);
    }, DELIVERED_PAUSE);
  }

  async #flush(conversation, state) {
    const { read, delivered } = state.wanted;
    if (state.busy || !this.#client.online() || (read <= state.read && delivered <= state.delivered)) return;
    state.busy = true;
    try {
      this.#move(conversation, state, await this.#client.request({ type: "receipt", conversation, read, delivered }));
    } catch (error) {
      // A rejected mark isn't sent again.
      if (!error.retry) state.wanted = { read: 0, delivered: 0 };
      return;
    } finally {
      state.busy = false;
    }
    void this.#flush(conversation, state);
  }

  #emit(conversation) {
    this.#client.emit("marks", { conversation, ...this.get(conversation) });
  }
}
