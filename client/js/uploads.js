// Blobs: uploads that go on where they were broken off (tus 1.0.0), and downloads. docs/reference/protocol.md, Blobs.

import { CourtyardError } from "./courtyard.js";

const CHUNK = 8 << 20;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** Silence after which a connection is taken for dead. */
const STALLED = 45_000;
/** Failures in a row, without a byte in between, after which a download is given up. */
const DOWNLOAD_ATTEMPTS = 8;
/** How often an upload begins anew, or sends a part again whose sum is wrong. */
const FRESH_STARTS = 3;
const NAME_BYTES = 255;
const KEPT = "courtyard.uploads";
const DAY = 86_400_000;

const OFFLINE = () => new CourtyardError("offline", "There is no connection.", true);
const ABORTED = () => new CourtyardError("aborted", "It was broken off.", false);

/** What uploads are under way in this page: the same file again is an upload of its own. */
const running = new Set();

/** The blobs of a host: what is uploaded to plugins and downloaded from them. */
export class Blobs {
  #options;

  /** @param options {url, app?, token: text or function, storage?, backOff?: {first, longest}, fetch?, XMLHttpRequest?} */
  constructor(options) {
    this.#options = {
      app: "default", storage: globalThis.localStorage, backOff: { first: FIRST_PAUSE, longest: LONGEST_PAUSE },
      fetch: (...request) => globalThis.fetch(...request), XMLHttpRequest: globalThis.XMLHttpRequest, ...options,
    };
  }

  /**
   * Uploads a file, for as long as it takes: broken connections and a server that restarts only make it wait. Given the
   * same file after the page was loaded anew, it goes on where it was.
   *
   * @param options {name?, mediaType?, conversation?, checksum?: "sha1" or "sha256", chunk?: bytes of a request}
   */
  upload(plugin, file, options = {}) {
    return new Upload(this.#options, this.#place(plugin), file, options);
  }

  /** Downloads a blob; where a connection breaks, the rest is fetched with the next. `onprogress` gets (received, size). */
  async download(plugin, id, { signal, onprogress } = {}) {
    const parts = [];
    const state = { received: 0, size: undefined, type: "", tag: undefined };
    let failures = 0;
    for (;;) {
      const before = state.received;
      try {
        await this.#receive(`${this.#place(plugin)}/${encodeURIComponent(id)}`, parts, state, signal, onprogress);
        return new Blob(parts, { type: state.type });
      } catch (error) {
        if (signal?.aborted) throw ABORTED();
        failures = state.received > before ? 1 : failures + 1;
        if (!error.retry || failures >= DOWNLOAD_ATTEMPTS) throw error;
        await rest(pauseOf(this.#options.backOff, failures - 1), signal);
      }
    }
  }

  /** Removes a blob, if its plugin allows that. */
  async remove(plugin, id) {
    const { fetch } = this.#options;
    const url = `${this.#place(plugin)}/${encodeURIComponent(id)}`;
    const response = await fetch(url, { method: "DELETE", headers: bearer(this.#options) }).catch(() => { throw OFFLINE(); });
    if (!response.ok) throw failure(response.status, await response.text());
  }

  #place(plugin) {
    const { url, app } = this.#options;
    return new URL(app === "default" ? `/v1/blobs/${plugin}` : `/v1/apps/${app}/blobs/${plugin}`, url).href;
  }

  /** Receives what is missing. */
  async #receive(url, parts, state, signal, onprogress) {
    const silence = new Silence(signal);
    try {
      const headers = bearer(this.#options);
      if (state.received > 0) Object.assign(headers, { range: `bytes=${state.received}-`, "if-range": state.tag });
      const response = await this.#options.fetch(url, { headers, signal: silence.signal });
      if (!response.ok) throw failure(response.status, await response.text());
      if (response.status !== 206) {
        parts.length = state.received = 0;
        state.size = Number(response.headers.get("content-length") ?? NaN);
        state.type = response.headers.get("content-type") ?? "";
        state.tag = response.headers.get("etag");
      }
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        silence.broken();
        parts.push(value);
        state.received += value.length;
        onprogress?.(state.received, state.size);
      }
      if (state.received < state.size) throw OFFLINE();
    } catch (error) {
      throw error instanceof CourtyardError ? error : OFFLINE();
    } finally {
      silence.end();
    }
  }
}

/**
 * A file on its way to a plugin.
 *
 * `done` resolves with the id of the blob, or rejects with a `CourtyardError`; its code is `aborted` after `abort`,
 * `unreadable_file` when the file was changed or is gone. Events: `progress` (detail: {sent, size}), `state` (detail:
 * {state, error?, retryAt?}).
 */
export class Upload extends EventTarget {
  #link;
  #place;
  #file;
  #options;
  #url;
  #sent = 0;
  #state = "waiting";
  /** Ends the attempt that is under way. */
  #attempt;
  #failures = 0;
  #freshStarts = 0;
  #settle;
  #mark;

  constructor(link, place, file, options) {
    super();
    this.#link = link;
    this.#place = place;
    this.#file = file;
    this.#options = { name: file.name, mediaType: file.type, chunk: CHUNK, ...options };
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // Whoever only listens to events need not handle the promise.
    this.done.catch(() => {});
    const mark = this.#fingerprint();
    if (mark && !running.has(mark)) {
      running.add((this.#mark = mark));
      this.#url = this.#kept()[mark]?.url;
    }
    void this.#go();
  }

  /** `uploading`, `waiting` (for a connection, or the server), `paused`, `done`, `failed` or `aborted`. */
  get state() {
    return this.#state;
  }

  /** Bytes of which the server is known to have them, and those on their way. */
  get sent() {
    return this.#sent;
  }

  get size() {
    return this.#file.size;
  }

  /** Stops sending; what the server has it keeps for some time (`unfinished_ms`). */
  pause() {
    if (this.#ended()) return;
    this.#become("paused");
    this.#attempt?.abort();
  }

  /** Goes on after `pause`, and tries again at once when it waits. */
  resume() {
    if (this.#state !== "paused" && this.#state !== "waiting") return;
    this.#attempt?.abort();
    void this.#go();
  }

  /** Breaks it off; the server forgets what it has. */
  abort() {
    if (this.#ended()) return;
    const url = this.#url;
    this.#end("aborted", ABORTED());
    // What can't be removed now the server removes by itself after a while.
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
    this.#keep(undefined);
    running.delete(this.#mark);
    if (state === "done") this.#settle.resolve(outcome);
    else this.#settle.reject(outcome);
    this.#become(state, state === "done" ? {} : { error: outcome });
  }

  #moved(sent) {
    this.#sent = sent;
    this.dispatchEvent(new CustomEvent("progress", { detail: { sent, size: this.size } }));
  }

  /** Tries again and again; ends when another attempt takes its place. */
  async #go() {
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
        const pause = pauseOf(this.#link.backOff, this.#failures++);
        this.#become("waiting", { error: reason, retryAt: Date.now() + pause });
        await rest(pause, attempt.signal).catch(() => {});
      }
    }
  }

  /** Returns why an attempt failed, as far as that can be known. */
  async #reason(error) {
    if (!(error instanceof CourtyardError)) return new CourtyardError("internal", String(error?.message ?? error), false);
    if (error.code !== "offline") return error;
    // A file that was changed or is gone looks like a broken connection.
    const readable = await this.#file.slice(0, 1).arrayBuffer().then(() => true, () => false);
    return readable ? error : new CourtyardError("unreadable_file", "The file was changed, or is gone.", false);
  }

  /** Sends what the server does not have. */
  async #send(signal) {
    let offset = this.#url && (await this.#offset(signal));
    if (offset === undefined) {
      await this.#create(signal);
      offset = 0;
    }
    this.#moved(offset);
    while (offset < this.size) {
      offset = await this.#part(offset, signal);
      this.#failures = 0;
      this.#moved(offset);
    }
  }

  async #create(signal) {
    const { name, mediaType, conversation } = this.#options;
    const metadata = [["filename", name && shortened(name)], ["filetype", mediaType], ["conversation", conversation]];
    const answer = await this.#request("POST", this.#place, {
      "upload-length": String(this.size),
      "upload-metadata": metadata.filter(([, value]) => value).map(([key, value]) => `${key} ${base64(value)}`).join(","),
    }, undefined, signal);
    if (answer.status !== 201) throw failure(answer.status, answer.text);
    this.#url = new URL(answer.header("location"), this.#place).href;
    const until = Date.parse(answer.header("upload-expires") ?? "");
    this.#keep({ url: this.#url, until: Number.isNaN(until) ? Date.now() + DAY : until });
  }

  /** Asks how much the server has; undefined when it knows nothing of the upload any more. */
  async #offset(signal) {
    const answer = await this.#request("HEAD", this.#url, {}, undefined, signal);
    if (answer.status === 404 || answer.status === 410) return this.#forgotten();
    if (answer.status !== 200) throw failure(answer.status, answer.text);
    return Number(answer.header("upload-offset"));
  }

  #forgotten() {
    this.#url = undefined;
    this.#keep(undefined);
    if (++this.#freshStarts > FRESH_STARTS) throw failure(404, "");
  }

  /** Sends one part, and returns how much the server has then. */
  async #part(offset, signal) {
    const { checksum, chunk } = this.#options;
    const part = this.#file.slice(offset, offset + chunk);
    const headers = { "upload-offset": String(offset), "content-type": "application/offset+octet-stream" };
    if (checksum) headers["upload-checksum"] = `${checksum} ${await sum(checksum, part)}`;
    const told = (bytes) => this.#moved(offset + Math.min(bytes, part.size));
    const answer = await this.#request("PATCH", this.#url, headers, part, signal, told);
    if (answer.status === 204) return Number(answer.header("upload-offset"));
    if (answer.status === 404 || answer.status === 410) this.#forgotten();
    const error = failure(answer.status, answer.text);
    const again = [404, 409, 410].includes(answer.status)
      || (answer.status === 460 && ++this.#freshStarts <= FRESH_STARTS);
    throw again ? new CourtyardError(error.code, error.message, true) : error;
  }

  #request(method, url, headers, body, signal, onprogress) {
    const all = { ...bearer(this.#link), "tus-resumable": "1.0.0", ...headers };
    const request = { method, url, headers: all, body, signal, onprogress };
    return this.#link.XMLHttpRequest ? byXhr(this.#link.XMLHttpRequest, request) : byFetch(this.#link.fetch, request);
  }

  /** What tells a file that is given again after a reload; nothing for one without a name and a time. */
  #fingerprint() {
    const { name, type, size, lastModified } = this.#file;
    if (!name || !lastModified) return undefined;
    return JSON.stringify([this.#place, this.#options.conversation ?? "", name, type, size, lastModified]);
  }

  #kept() {
    try {
      return JSON.parse(this.#link.storage?.getItem(KEPT) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }

  #keep(entry) {
    if (!this.#mark) return;
    const others = Object.entries(this.#kept()).filter(([mark, { until }]) => mark !== this.#mark && until > Date.now());
    const all = Object.fromEntries(entry ? [...others, [this.#mark, entry]] : others);
    try {
      this.#link.storage?.setItem(KEPT, JSON.stringify(all));
    } catch {
      // Without room it begins anew after a reload.
    }
  }
}

/** Aborts when nothing was heard for too long, or with another signal. */
class Silence {
  #controller = new AbortController();
  #timer;
  #outer;
  #pass = () => this.#controller.abort();

  constructor(outer) {
    this.#outer = outer;
    if (outer?.aborted) this.#pass();
    outer?.addEventListener("abort", this.#pass);
    this.broken();
  }

  get signal() {
    return this.#controller.signal;
  }

  broken() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#pass, STALLED);
  }

  end() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#pass);
  }
}

/** In a browser only this tells how much of a body was sent. */
function byXhr(XMLHttpRequest, { method, url, headers, body, signal, onprogress }) {
  return new Promise((resolve, reject) => {
    const silence = new Silence(signal);
    const xhr = new XMLHttpRequest();
    const fail = () => {
      silence.end();
      reject(OFFLINE());
    };
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = ({ loaded }) => {
      silence.broken();
      onprogress?.(loaded);
    };
    xhr.onload = () => {
      silence.end();
      resolve({ status: xhr.status, text: xhr.responseText, header: (name) => xhr.getResponseHeader(name) });
    };
    xhr.onerror = xhr.onabort = xhr.ontimeout = fail;
    if (silence.signal.aborted) return fail();
    silence.signal.addEventListener("abort", () => xhr.abort());
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

/** What an HTTP status means where there is no error of the protocol with it, as in the answers to `HEAD`. */
const CODES = { 401: "unauthenticated", 403: "forbidden", 404: "unknown_blob", 409: "upload_conflict", 460: "checksum_mismatch" };

function failure(status, text) {
  try {
    const { code, message, retry } = JSON.parse(text).error;
    return new CourtyardError(code, message, retry);
  } catch {
    const retry = status >= 500 || status === 408 || status === 429;
    return new CourtyardError(CODES[status] ?? (retry ? "internal" : "bad_upload"), `The server answers ${status}.`, retry);
  }
}

const pauseOf = ({ first, longest }, failures) => Math.min(first * 2 ** failures, longest) * (0.5 + Math.random() / 2);

function rest(pause, signal) {
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

/** Cuts a name that is too long for the server in its middle, so that its end is still there. */
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

async function sum(algorithm, part) {
  const name = { sha1: "SHA-1", sha256: "SHA-256" }[algorithm];
  return base64(new Uint8Array(await crypto.subtle.digest(name, await part.arrayBuffer())));
}
