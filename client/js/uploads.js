// Blobs: resumable uploads (tus 1.0.0) and downloads. docs/reference/protocol.md, Blobs.

import { CourtyardError } from "./courtyard.js";

/** Bytes of one upload request. */
const CHUNK = 8 << 20;
/** Pause before the first retry, doubled each time up to the longest; milliseconds. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** Milliseconds without progress after which a request is aborted. */
const STALLED = 45_000;
/** Consecutive failures without a received byte after which a download fails. */
const DOWNLOAD_ATTEMPTS = 8;
/** Most restarts of an upload, and resends of a part with a wrong checksum. */
const RESTARTS = 3;
const NAME_BYTES = 255;
const STORAGE_KEY = "courtyard.uploads";
const DAY = 86_400_000;

const OFFLINE = () => new CourtyardError("offline", "There is no connection to the server.", true);
const ABORTED = () => new CourtyardError("aborted", "The transfer was aborted.", false);

/** Fingerprints of the running uploads of this page: a second upload of the same file isn't resumed from the first. */
const running = new Set();

/** The blobs of a host: uploads to plugins, and downloads from them. */
export class Blobs {
  #options;

  /** @param {any} options {url, app?, token: text or function, storage?, backOff?: {first, longest}, fetch?, XMLHttpRequest?} */
  constructor(options) {
    this.#options = {
      app: "default",
      storage: globalThis.localStorage,
      backOff: { first: FIRST_PAUSE, longest: LONGEST_PAUSE },
      fetch: (input, init) => globalThis.fetch(input, init),
      XMLHttpRequest: globalThis.XMLHttpRequest,
      ...options,
    };
  }

  /**
   * Uploads a file. Broken connections and restarts of the server only delay it. Given the same file after a reload of the
   * page, the upload is resumed.
   *
   * @param {any} options {name?, mediaType?, conversation?, checksum?: "sha1" or "sha256", chunk?: bytes of a request}
   */
  upload(plugin, file, options = {}) {
    return new Upload(this.#options, this.#endpoint(plugin), file, options);
  }

  /**
   * Downloads a blob, and resumes after a broken connection. `onprogress` gets (received, size).
   *
   * @param {string} plugin
   * @param {string} id
   * @param {{signal?: AbortSignal, onprogress?: (received: number, size: number) => void}} options
   */
  async download(plugin, id, { signal, onprogress } = {}) {
    const parts = [];
    const state = { received: 0, size: undefined, type: "", tag: undefined };
    let failures = 0;
    for (;;) {
      const before = state.received;
      try {
        await this.#receive(`${this.#endpoint(plugin)}/${encodeURIComponent(id)}`, parts, state, signal, onprogress);
        return new Blob(parts, { type: state.type });
      } catch (error) {
        if (signal?.aborted) throw ABORTED();
        failures = state.received > before ? 1 : failures + 1;
        if (!error.retry || failures >= DOWNLOAD_ATTEMPTS) throw error;
        await sleep(pauseOf(this.#options.backOff, failures - 1), signal);
      }
    }
  }

  /** Removes a blob, if its plugin allows it. */
  async remove(plugin, id) {
    const { fetch } = this.#options;
    const url = `${this.#endpoint(plugin)}/${encodeURIComponent(id)}`;
    const response = await fetch(url, { method: "DELETE", headers: bearer(this.#options) }).catch(() => {
      throw OFFLINE();
    });
    if (!response.ok) throw failure(response.status, await response.text());
  }

  #endpoint(plugin) {
    const { url, app } = this.#options;
    return new URL(app === "default" ? `/v1/blobs/${plugin}` : `/v1/apps/${app}/blobs/${plugin}`, url).href;
  }

  /** Receives the missing bytes. */
  async #receive(url, parts, state, signal, onprogress) {
    const watchdog = new Watchdog(signal);
    try {
      const headers = bearer(this.#options);
      if (state.received > 0) Object.assign(headers, { range: `bytes=${state.received}-`, "if-range": state.tag });
      const response = await this.#options.fetch(url, { headers, signal: watchdog.signal });
      if (!response.ok) throw failure(response.status, await response.text());
      if (response.status !== 206) {
        parts.length = state.received = 0;
        state.size = Number(response.headers.get("content-length") ?? NaN);
        state.type = response.headers.get("content-type") ?? "";
        state.tag = response.headers.get("etag");
      }
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        watchdog.restart();
        parts.push(value);
        state.received += value.length;
        onprogress?.(state.received, state.size);
      }
      if (state.received < state.size) throw OFFLINE();
    } catch (error) {
      throw error instanceof CourtyardError ? error : OFFLINE();
    } finally {
      watchdog.stop();
    }
  }
}

/**
 * An upload of a file to a plugin.
 *
 * `done` resolves with the id of the blob, or rejects with a `CourtyardError`; its code is `aborted` after `abort`, and
 * `unreadable_file` if the file was changed or deleted. Events: `progress` {sent, size}, `state` {state, error?, retryAt?}.
 */
export class Upload extends EventTarget {
  #client;
  #endpoint;
  #file;
  #options;
  #url;
  #sent = 0;
  #state = "waiting";
  /** Aborts the running attempt. */
  #attempt;
  #failures = 0;
  #restarts = 0;
  #settle;
  #mark;

  constructor(client, endpoint, file, options) {
    super();
    this.#client = client;
    this.#endpoint = endpoint;
    this.#file = file;
    this.#options = { name: file.name, mediaType: file.type, chunk: CHUNK, ...options };
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // Callers who only listen to events need not handle the promise.
    this.done.catch(() => {});
    const mark = this.#fingerprint();
    if (mark && !running.has(mark)) {
      running.add((this.#mark = mark));
      this.#url = this.#stored()[mark]?.url;
    }
    void this.#run();
  }

  /** `uploading`, `waiting` (for a retry), `paused`, `done`, `failed` or `aborted`. */
  get state() {
    return this.#state;
  }

  /** Bytes that the server has acknowledged, and those in flight. */
  get sent() {
    return this.#sent;
  }

  get size() {
    return this.#file.size;
  }

  /** Stops sending; the server keeps the received bytes for some time (`unfinished_ms`). */
  pause() {
    if (this.#ended()) return;
    this.#become("paused");
    this.#attempt?.abort();
  }

  /** Continues after `pause`, and retries at once if it is waiting. */
  resume() {
    if (this.#state !== "paused" && this.#state !== "waiting") return;
    this.#attempt?.abort();
    void this.#run();
  }

  /** Aborts the upload; the server discards the received bytes. */
  abort() {
    if (this.#ended()) return;
    const url = this.#url;
    this.#end("aborted", ABORTED());
    // If the request fails, the server discards them after some time.
    if (url) void this.#request("DELETE", url, {}).catch(() => {});
  }

  #ended() {
    return ["done", "failed", "aborted"].includes(this.#state);
  }

  #become(state, more = {}) {
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...more } }));
  }

  #end(state, outcome) {
    this.#attempt?.abort();
    this.#attempt = undefined;
    this.#store(undefined);
    running.delete(this.#mark);
    if (state === "done") this.#settle.resolve(outcome);
    else this.#settle.reject(outcome);
    this.#become(state, state === "done" ? {} : { error: outcome });
  }

  #reportProgress(sent) {
    this.#sent = sent;
    this.dispatchEvent(new CustomEvent("progress", { detail: { sent, size: this.size } }));
  }

  /** Retries until the upload ends; stops when another attempt replaces this one. */
  async #run() {
    const attempt = (this.#attempt = new AbortController());
    while (this.#attempt === attempt && !attempt.signal.aborted) {
      this.#become("uploading");
      try {
        await this.#send(attempt.signal);
        if (this.#attempt === attempt) this.#end("done", this.#url.slice(this.#url.lastIndexOf("/") + 1));
        return;
      } catch (error) {
        if (attempt.signal.aborted || this.#attempt !== attempt) return;
        const reason = await this.#reason(error);
        if (attempt.signal.aborted) return;
        if (!reason.retry) return this.#end("failed", reason);
        const pause = pauseOf(this.#client.backOff, this.#failures++);
        this.#become("waiting", { error: reason, retryAt: Date.now() + pause });
        await sleep(pause, attempt.signal).catch(() => {});
      }
    }
  }

  /** Returns why an attempt failed, as far as it can be determined. */
  async #reason(error) {
    if (!(error instanceof CourtyardError))
      return new CourtyardError("internal", String(error?.message ?? error), false);
    if (error.code !== "offline") return error;
    // A changed or deleted file looks like a broken connection.
    const readable = await this.#file
      .slice(0, 1)
      .arrayBuffer()
      .then(
        () => true,
        () => false,
      );
    return readable
      ? error
      : new CourtyardError("unreadable_file", "The file was changed or deleted. Choose it again.", false);
  }

  /** Sends the bytes that the server doesn't have. */
  async #send(signal) {
    let offset = this.#url && (await this.#offset(signal));
    if (offset === undefined) {
      await this.#create(signal);
      offset = 0;
    }
    this.#reportProgress(offset);
    while (offset < this.size) {
      offset = await this.#part(offset, signal);
      this.#failures = 0;
      this.#reportProgress(offset);
    }
  }

  async #create(signal) {
    const { name, mediaType, conversation } = this.#options;
    const metadata = [
      ["filename", name && shortened(name)],
      ["filetype", mediaType],
      ["conversation", conversation],
    ];
    const answer = await this.#request(
      "POST",
      this.#endpoint,
      {
        "upload-length": String(this.size),
        "upload-metadata": metadata
          .filter(([, value]) => value)
          .map(([key, value]) => `${key} ${base64(value)}`)
          .join(","),
      },
      undefined,
      signal,
    );
    if (answer.status !== 201) throw failure(answer.status, answer.text);
    this.#url = new URL(answer.header("location"), this.#endpoint).href;
    const until = Date.parse(answer.header("upload-expires") ?? "");
    this.#store({ url: this.#url, until: Number.isNaN(until) ? Date.now() + DAY : until });
  }

  /** Returns how many bytes the server has; undefined if it doesn't know the upload any more. */
  async #offset(signal) {
    const answer = await this.#request("HEAD", this.#url, {}, undefined, signal);
    if (answer.status === 404 || answer.status === 410) return this.#forgotten();
    if (answer.status !== 200) throw failure(answer.status, answer.text);
    return Number(answer.header("upload-offset"));
  }

  #forgotten() {
    this.#url = undefined;
    this.#store(undefined);
    if (++this.#restarts > RESTARTS) throw failure(404, "");
  }

  /** Sends one part. Returns how many bytes the server has then. */
  async #part(offset, signal) {
    const { checksum, chunk } = this.#options;
    const part = this.#file.slice(offset, offset + chunk);
    const headers = { "upload-offset": String(offset), "content-type": "application/offset+octet-stream" };
    if (checksum) headers["upload-checksum"] = `${checksum} ${await digest(checksum, part)}`;
    const onprogress = (bytes) => this.#reportProgress(offset + Math.min(bytes, part.size));
    const answer = await this.#request("PATCH", this.#url, headers, part, signal, onprogress);
    if (answer.status === 204) return Number(answer.header("upload-offset"));
    if (answer.status === 404 || answer.status === 410) this.#forgotten();
    const error = failure(answer.status, answer.text);
    const again = [404, 409, 410].includes(answer.status) || (answer.status === 460 && ++this.#restarts <= RESTARTS);
    throw again ? new CourtyardError(error.code, error.message, true) : error;
  }

  #request(method, url, headers, body, signal, onprogress) {
    const all = { ...bearer(this.#client), "tus-resumable": "1.0.0", ...headers };
    const request = { method, url, headers: all, body, signal, onprogress };
    return this.#client.XMLHttpRequest
      ? byXhr(this.#client.XMLHttpRequest, request)
      : byFetch(this.#client.fetch, request);
  }

  /** Identifies the same file after a reload; undefined for a file without a name or a time. */
  #fingerprint() {
    const { name, type, size, lastModified } = this.#file;
    if (!name || !lastModified) return undefined;
    return JSON.stringify([this.#endpoint, this.#options.conversation ?? "", name, type, size, lastModified]);
  }

  #stored() {
    try {
      return JSON.parse(this.#client.storage?.getItem(STORAGE_KEY) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }

  #store(entry) {
    if (!this.#mark) return;
    const others = Object.entries(this.#stored()).filter(
      ([mark, { until }]) => mark !== this.#mark && until > Date.now(),
    );
    const all = Object.fromEntries(entry ? [...others, [this.#mark, entry]] : others);
    try {
      this.#client.storage?.setItem(STORAGE_KEY, JSON.stringify(all));
    } catch {
      // Without storage, the upload restarts after a reload.
    }
  }
}

/** Aborts after [`STALLED`] milliseconds without a `restart`, or with another signal. */
class Watchdog {
  #controller = new AbortController();
  #timer;
  #outer;
  #abort = () => this.#controller.abort();

  constructor(outer) {
    this.#outer = outer;
    if (outer?.aborted) this.#abort();
    outer?.addEventListener("abort", this.#abort);
    this.restart();
  }

  get signal() {
    return this.#controller.signal;
  }

  restart() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, STALLED);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
  }
}

/** Sends a request; in browsers, only XMLHttpRequest reports how much of a body was sent. */
function byXhr(XMLHttpRequest, { method, url, headers, body, signal, onprogress }) {
  return new Promise((resolve, reject) => {
    const watchdog = new Watchdog(signal);
    const xhr = new XMLHttpRequest();
    const fail = () => {
      watchdog.stop();
      reject(OFFLINE());
    };
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = ({ loaded }) => {
      watchdog.restart();
      onprogress?.(loaded);
    };
    xhr.onload = () => {
      watchdog.stop();
      resolve({ status: xhr.status, text: xhr.responseText, header: (name) => xhr.getResponseHeader(name) });
    };
    xhr.onerror = xhr.onabort = xhr.ontimeout = fail;
    if (watchdog.signal.aborted) return fail();
    watchdog.signal.addEventListener("abort", () => xhr.abort());
    xhr.send(body);
  });
}

async function byFetch(fetch, { method, url, headers, body, signal }) {
  try {
    const response = await fetch(url, { method, headers, body, signal });
    const text = await response.text();
    return { status: response.status, text, header: (name) => response.headers.get(name) };
  } catch {
    throw OFFLINE();
  }
}

function bearer({ token }) {
  const text = typeof token === "function" ? token() : token;
  return text ? { authorization: `Bearer ${text}` } : {};
}

/** Codes for HTTP statuses without a body, as in responses to `HEAD`. */
const CODES = {
  401: "unauthenticated",
  403: "forbidden",
  404: "unknown_blob",
  409: "invalid_offset",
  413: "limit_bytes",
  460: "invalid_checksum",
};

function failure(status, text) {
  try {
    const { code, message, retry } = JSON.parse(text).error;
    return new CourtyardError(code, message, retry);
  } catch {
    const retry = status >= 500 || status === 408 || status === 429;
    return new CourtyardError(
      CODES[status] ?? (retry ? "internal" : "invalid_upload"),
      `The server returned the status ${status}.`,
      retry,
    );
  }
}

const pauseOf = ({ first, longest }, failures) => Math.min(first * 2 ** failures, longest) * (0.5 + Math.random() / 2);

function sleep(pause, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(ABORTED());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, pause);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop);
  });
}

/** Shortens a name that is too long for the server in its middle, so that its extension is kept. */
function shortened(name) {
  const bytes = (text) => new TextEncoder().encode(text).length;
  const letters = [...name];
  while (bytes(letters.join("")) > NAME_BYTES) letters.splice(Math.floor(letters.length / 2), 1);
  return letters.join("");
}

function base64(value) {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

async function digest(algorithm, part) {
  const name = { sha1: "SHA-1", sha256: "SHA-256" }[algorithm];
  return base64(new Uint8Array(await crypto.subtle.digest(name, await part.arrayBuffer())));
}
