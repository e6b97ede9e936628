// What was last known of something that a server has, without older answers in the place of newer ones.

/** Counts what all instances store. */
let moment = 0;

/** Returns the present moment, for `Latest.offer`. */
export const now = () => moment;

/**
 * Fetches subjects, such as a group by its id, and stores the answers.
 *
 * Answers of a server may overtake each other. Therefore at most one request for a subject is in flight. A subject that is
 * loaded again or changes meanwhile is fetched once more after the answer; the answer that was overtaken is never stored.
 */
export class Latest {
  #fetch;
  #store;
  #most;
  /** Subjects that are wanted, by key: {key, isInFlight, isOvertaken, settled, resolve, reject}. */
  #subjects = new Map();
  #waiting = new Set();
  /** When subjects were last stored, by key. */
  #stored = new Map();

  /**
   * @param fetch (keys) → a promise of their answers in the same order, for at most `most` keys at a time
   * @param store (answer, key) → the value of the subject, with which `load` resolves
   */
  constructor(fetch, store, most = 1) {
    this.#fetch = fetch;
    this.#store = store;
    this.#most = most;
  }

  /** The same where each subject has a request of its own: `fetch(key)` → a promise of its answer. */
  static each(fetch, store) {
    return new Latest(async ([key]) => [await fetch(key)], store);
  }

  /**
   * Fetches a subject, and resolves with its value. The request begins after this call, so that the answer has everything that
   * the caller knows of. Rejects if the request fails; resolves with undefined if the subject is forgotten meanwhile.
   */
  load(key) {
    const subject = this.#subjects.get(key);
    if (!subject) return this.#want(key).settled;
    if (subject.isInFlight) subject.isOvertaken = true;
    return subject.settled;
  }

  /** Fetches several subjects, and resolves with their values in the same order. */
  loadAll(keys) {
    return Promise.all(keys.map((key) => this.load(key)));
  }

  /** Does the same as `load`, but joins a request that is in flight: for a caller to whom any answer is new. */
  need(key) {
    return (this.#subjects.get(key) ?? this.#want(key)).settled;
  }

  needAll(keys) {
    return Promise.all(keys.map((key) => this.need(key)));
  }

  /**
   * Stores what is known of a subject from elsewhere: from a push, or from an answer whose request began at the moment `since`.
   * If something else was stored since then, which of both is newer is unknown, and the subject is fetched.
   */
  offer(key, answer, since = moment) {
    const subject = this.#subjects.get(key);
    if (subject?.isInFlight) subject.isOvertaken = true;
    if ((this.#stored.get(key) ?? 0) <= since) this.#keep(key, answer);
    else if (!subject) this.#want(key).settled.catch(() => {});
  }

  /** Marks a subject as changed: an answer that is on its way is not stored, and the subject is fetched once more. */
  overtake(key) {
    const subject = this.#subjects.get(key);
    if (subject?.isInFlight) subject.isOvertaken = true;
  }

  /** Forgets a subject: an answer that is on its way is not stored. */
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

  /** Subjects that are wanted in the same turn are fetched together. */
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
    const [answers, failure] = await request.then((answers) => [answers], (error) => [undefined, error]);
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
