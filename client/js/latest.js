// Fetching that never replaces a newer answer with an older one.

/** Counts stored answers of all instances. */
let moment = 0;

/** Returns the current moment, for `Latest.offer`. */
export const now = () => moment;

/**
 * Fetches subjects, such as a group by its id, and stores the answers.
 *
 * Answers can overtake each other. Therefore at most one request per subject is in flight. A subject that is loaded again or
 * changes meanwhile is fetched once more after the answer, and the overtaken answer is never stored.
 */
export class Latest {
  #fetch;
  #store;
  #most;
  /** Pending subjects by key: {key, isInFlight, isOvertaken, settled, resolve, reject}. */
  #subjects = new Map();
  #waiting = new Set();
  /** The moment at which each subject was last stored. */
  #stored = new Map();

  /**
   * @param fetch (keys) → a promise of their answers in the same order, for at most `most` keys in one request
   * @param store (answer, key) → the value with which `load` resolves
   */
  constructor(fetch, store, most = 1) {
    this.#fetch = fetch;
    this.#store = store;
    this.#most = most;
  }

  /** Returns an instance with one request per subject: `fetch(key)` → a promise of the answer. */
  static each(fetch, store) {
    return new Latest(async ([key]) => [await fetch(key)], store);
  }

  /**
   * Fetches a subject and resolves with its value. The request begins after this call, so the answer includes all changes that
   * the caller knows. Rejects if the request fails; resolves with undefined if the subject is forgotten meanwhile.
   */
  load(key) {
    const subject = this.#subjects.get(key);
    if (!subject) return this.#want(key).settled;
    if (subject.isInFlight) subject.isOvertaken = true;
    return subject.settled;
  }

  /** Fetches several subjects and resolves with their values in the same order. */
  loadAll(keys) {
    return Promise.all(keys.map((key) => this.load(key)));
  }

  /** Does the same as `load`, but joins a request in flight: for callers that know of no change. */
  need(key) {
    return (this.#subjects.get(key) ?? this.#want(key)).settled;
  }

  needAll(keys) {
    return Promise.all(keys.map((key) => this.need(key)));
  }

  /**
   * Stores a value from elsewhere: from a push, or from an answer whose request began at the moment `since`. If another value
   * was stored since then, the newer one is unknown, and the subject is fetched instead.
   */
  offer(key, answer, since = moment) {
    const subject = this.#subjects.get(key);
    if (subject?.isInFlight) subject.isOvertaken = true;
    if ((this.#stored.get(key) ?? 0) <= since) this.#keep(key, answer);
    else if (!subject) this.#want(key).settled.catch(() => {});
  }

  /** Marks a subject as changed: an answer in flight is not stored, and the subject is fetched once more. */
  overtake(key) {
    const subject = this.#subjects.get(key);
    if (subject?.isInFlight) subject.isOvertaken = true;
  }

  /** Forgets a subject: an answer in flight is not stored. */
  forget(key) {
    const subject = this.#subjects.get(key);
    this.#subjects.delete(key);
    this.#waiting.delete(subject);
    this.#stored.delete(key);
    subject?.resolve(undefined);
  }

  /** Forgets all subjects. */
  clear() {
    for (const key of [...this.#subjects.keys(), ...this.#stored.keys()]) this.forget(key);
  }

  #keep(key, answer) {
    this.#stored.set(key, ++moment);
    return this.#store(answer, key);
  }

  #want(key) {
    const subject = { key, isInFlight: false, isOvertaken: false };
    subject.settled = new Promise((resolve, reject) => Object.assign(subject, { resolve, reject }));
    this.#subjects.set(key, subject);
    this.#enqueue(subject);
    return subject;
  }

  /** Subjects of the same turn share a request. */
  #enqueue(subject) {
    if (this.#waiting.size === 0) queueMicrotask(() => this.#send());
    this.#waiting.add(subject);
  }

  #send() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (let at = 0; at < waiting.length; at += this.#most) void this.#request(waiting.slice(at, at + this.#most));
  }

  async #request(subjects) {
    for (const subject of subjects) subject.isInFlight = true;
    const request = (async () => this.#fetch(subjects.map(({ key }) => key)))();
    const [answers, failure] = await request.then(
      (answers) => [answers],
      (error) => [undefined, error],
    );
    subjects.forEach((subject, at) => {
      if (this.#subjects.get(subject.key) !== subject) return;
      subject.isInFlight = false;
      if (subject.isOvertaken) {
        subject.isOvertaken = false;
        return this.#enqueue(subject);
      }
      this.#subjects.delete(subject.key);
      if (!answers) return subject.reject(failure);
      try {
        subject.resolve(this.#keep(subject.key, answers[at]));
      } catch (error) {
        subject.reject(error);
      }
    });
  }
}
