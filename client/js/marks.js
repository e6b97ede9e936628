// Up to where members have their conversations, what is unread, and who is writing: docs/reference/protocol.md, Receipts and Typing.

const DELIVERED_PAUSE = 1_000;
const TYPING_AGAIN = 3_000;
const TYPING_SHOWN = 6_000;
/** What the server counts unread messages up to. */
const MANY = 100;

const further = (known, { delivered, read }) =>
  ({ delivered: Math.max(known?.delivered ?? 0, delivered), read: Math.max(known?.read ?? 0, read) });

/** Keeps the marks of all conversations; says the own ones with as few requests as it can. */
export class Marks {
  #link;
  #conversations = new Map();
  #typed = new Map();
  #typing = new Map();

  /** @param link {request(frame), write(frame), online(), actor(), resync(), tell(type, detail), delivers} */
  constructor(link) {
    this.#link = link;
  }

  /** What is known of a conversation: `{read, delivered, unread, receipts: [{actor, delivered, read}]}`. */
  get(conversation) {
    const state = this.#state(conversation);
    const fresh = state.fresh.filter((seq) => seq > Math.max(state.read, state.listed)).length;
    const receipts = [...state.receipts].map(([actor, mark]) => ({ actor, ...mark }));
    return { read: state.read, delivered: state.delivered, unread: Math.min(state.behind + fresh, MANY), receipts };
  }

  /** Takes an entry of `synced`. */
  list(entry) {
    const state = this.#state(entry.id);
    state.listed = entry.seq;
    state.behind = entry.unread ?? 0;
    state.fresh = state.fresh.filter((seq) => seq > entry.seq);
    for (const { actor, ...mark } of entry.receipts ?? []) state.receipts.set(actor, mark);
    this.#move(entry.id, state, { read: entry.read ?? 0, delivered: entry.delivered ?? 0 }, true);
    this.#deliver(entry.id, state, entry.last?.sender === this.#link.actor() ? 0 : entry.seq);
  }

  /** Forgets everything: somebody else is signed in. */
  clear() {
    for (const conversation of [...this.#conversations.keys()]) this.forget(conversation);
  }

  forget(conversation) {
    clearTimeout(this.#conversations.get(conversation)?.timer);
    this.#conversations.delete(conversation);
  }

  /** Takes an event, in the order of its conversation. */
  arrive(event) {
    const state = this.#state(event.conversation);
    if (event.type === "message") this.#stopTyping(event.conversation, event.sender);
    if (event.sender === this.#link.actor()) return;
    if (event.type === "message" && event.seq > Math.max(state.listed, state.read)) {
      state.fresh.push(event.seq);
      // Whoever never reads needs no list of it all.
      if (state.fresh.length >= MANY) Object.assign(state, { behind: MANY, listed: event.seq, fresh: [] });
      this.#tell(event.conversation);
    }
    this.#deliver(event.conversation, state, event.seq);
  }

  /** Takes a `receipt` frame. */
  receipt({ conversation, actor, delivered, read }) {
    const state = this.#state(conversation);
    if (actor === this.#link.actor()) return this.#move(conversation, state, { delivered, read });
    state.receipts.set(actor, further(state.receipts.get(actor), { delivered, read }));
    this.#tell(conversation);
  }

  /** Takes watermarks of several members. */
  take(conversation, receipts) {
    const { receipts: known } = this.#state(conversation);
    for (const { actor, delivered, read } of receipts) {
      if (actor !== this.#link.actor()) known.set(actor, further(known.get(actor), { delivered, read }));
    }
    this.#tell(conversation);
  }

  /** Says that everything up to `seq` was read; again after a broken connection. */
  markRead(conversation, seq) {
    const state = this.#state(conversation);
    if (seq <= Math.max(state.read, state.wanted.read)) return;
    state.wanted.read = seq;
    void this.#flush(conversation, state);
  }

  /** Says what could not be said before. */
  resume() {
    for (const [conversation, state] of this.#conversations) void this.#flush(conversation, state);
  }

  /** Tells the others that this one is writing; as often as one likes. */
  write(conversation, now = Date.now()) {
    if (!this.#link.online() || now - (this.#typed.get(conversation) ?? -Infinity) < TYPING_AGAIN) return;
    this.#typed.set(conversation, now);
    this.#link.write({ type: "typing", conversation });
  }

  /** Takes a `typing` frame. */
  typing({ conversation, actor }) {
    const key = `${conversation} ${actor}`;
    clearTimeout(this.#typing.get(key));
    this.#typing.set(key, setTimeout(() => this.#stopTyping(conversation, actor), TYPING_SHOWN));
    this.#link.tell("typing", { conversation, actor, on: true });
  }

  /** Ends all timers. */
  rest() {
    for (const timer of this.#typing.values()) clearTimeout(timer);
    for (const state of this.#conversations.values()) clearTimeout(state.timer);
    this.#typing.clear();
  }

  #stopTyping(conversation, actor) {
    const key = `${conversation} ${actor}`;
    if (!this.#typing.has(key)) return;
    clearTimeout(this.#typing.get(key));
    this.#typing.delete(key);
    this.#link.tell("typing", { conversation, actor, on: false });
  }

  #state(conversation) {
    let state = this.#conversations.get(conversation);
    if (!state) {
      // `behind` messages are unread of those up to `listed`; the numbers of later ones are in `fresh`.
      state = { read: 0, delivered: 0, listed: 0, behind: 0, fresh: [], receipts: new Map(),
        wanted: { read: 0, delivered: 0 }, busy: false, timer: undefined };
      this.#conversations.set(conversation, state);
    }
    return state;
  }

  /** Moves the own marks. */
  #move(conversation, state, { delivered, read }, listed = false) {
    const moved = read > state.read;
    state.delivered = Math.max(state.delivered, delivered, read);
    state.read = Math.max(state.read, read);
    state.fresh = state.fresh.filter((seq) => seq > state.read);
    if (!listed && moved && state.behind > 0) {
      // How many of them are left only the server knows.
      if (state.read >= state.listed) state.behind = 0;
      else this.#link.resync();
    }
    this.#tell(conversation);
  }

  #deliver(conversation, state, seq) {
    if (!this.#link.delivers || seq <= Math.max(state.delivered, state.wanted.delivered)) return;
    state.wanted.delivered = seq;
    state.timer ??= setTimeout(() => {
      state.timer = undefined;
      void this.#flush(conversation, state);
    }, DELIVERED_PAUSE);
  }

  async #flush(conversation, state) {
    const { read, delivered } = state.wanted;
    if (state.busy || !this.#link.online() || (read <= state.read && delivered <= state.delivered)) return;
    state.busy = true;
    try {
      this.#move(conversation, state, await this.#link.request({ type: "receipt", conversation, read, delivered }));
    } catch (error) {
      // What will never be taken is not said again.
      if (!error.retry) state.wanted = { read: 0, delivered: 0 };
      return;
    } finally {
      state.busy = false;
    }
    void this.#flush(conversation, state);
  }

  #tell(conversation) {
    this.#link.tell("marks", { conversation, ...this.get(conversation) });
  }
}
