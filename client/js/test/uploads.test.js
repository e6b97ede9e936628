import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { Blobs } from "../uploads.js";

/** A tus server that records its requests. */
class Host {
  uploads = new Map();
  requests = [];
  /** Called with each request; returns true if it answered the request itself. */
  intercept = () => false;

  async start() {
    this.server = createServer((request, response) => void this.#serve(request, response).catch(() => {}));
    await new Promise((listening) => this.server.listen(this.port ?? 0, "127.0.0.1", listening));
    this.port = this.server.address().port;
    hosts.add(this);
  }

  async stop() {
    hosts.delete(this);
    const closed = new Promise((done) => this.server.close(done));
    this.server.closeAllConnections();
    await closed;
  }

  blobs(more = {}) {
    const backOff = { first: 1, longest: 20 };
    return new Blobs({ url: `http://127.0.0.1:${this.port}`, token: () => "t", backOff, storage: undefined, ...more });
  }

  methods() {
    return this.requests.map(({ method }) => method);
  }

  async #serve(request, response) {
    const { method, headers, url } = request;
    this.requests.push({ method, url, headers });
    if (await this.intercept(request, response, this)) return;
    const upload = this.uploads.get(url);
    if (method === "POST") {
      const path = `${url}/b${this.uploads.size + 1}`;
      this.uploads.set(path, {
        length: Number(headers["upload-length"]),
        bytes: Buffer.alloc(0),
        metadata: headers["upload-metadata"],
      });
      return void response.writeHead(201, { location: path, "upload-offset": "0" }).end();
    }
    if (!upload) return refuse(response, 404, "unknown_blob", false);
    if (method === "HEAD") return void response.writeHead(200, { "upload-offset": String(upload.bytes.length) }).end();
    if (method === "DELETE") return void (this.uploads.delete(url), response.writeHead(204).end());
    if (method === "GET") return send(upload.bytes, headers, response);
    const offset = Number(headers["upload-offset"]);
    if (offset !== upload.bytes.length) return refuse(response, 409, "invalid_offset", false);
    await receive(request, upload, Infinity);
    response.writeHead(204, { "upload-offset": String(upload.bytes.length) }).end();
  }
}

const hosts = new Set();
after(() => Promise.all([...hosts].map((host) => host.stop())));

function refuse(response, status, code, retry) {
  response.writeHead(status).end(JSON.stringify({ error: { code, message: "No.", retry } }));
}

/** Stores up to `most` bytes of a request. */
async function receive(request, upload, most) {
  let received = 0;
  for await (const bytes of request.iterator({ destroyOnReturn: false })) {
    const part = bytes.subarray(0, most - received);
    received += part.length;
    upload.bytes = Buffer.concat([upload.bytes, part]);
    if (received >= most) return;
  }
}

function send(bytes, headers, response) {
  const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
  const more = { "content-type": "image/png", "content-length": String(bytes.length - from), etag: '"b1"' };
  response.writeHead(from > 0 ? 206 : 200, more).end(bytes.subarray(from));
}

const pattern = (length) => Uint8Array.from({ length }, (_, at) => at % 251);
const file = (length, name = "a.bin") => new File([pattern(length)], name, { type: "x/y", lastModified: 7 });

async function hosted() {
  const host = new Host();
  await host.start();
  return host;
}

function memory() {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
}

const becomes = (upload, state) =>
  new Promise((reached) => {
    if (upload.state === state) return reached();
    upload.addEventListener("state", ({ detail }) => detail.state === state && reached(detail));
  });

test("a file is uploaded in parts with its metadata and checksums, and downloads unchanged", async () => {
  const host = await hosted();
  const sums = [];
  host.intercept = ({ headers }) => void (headers["upload-checksum"] && sums.push(headers["upload-checksum"]));
  const moves = [];
  const upload = host
    .blobs()
    .upload("files", file(1000, "Übung.bin"), { conversation: "C1", chunk: 400, checksum: "sha256" });
  upload.addEventListener("progress", ({ detail }) => moves.push(detail.sent));
  assert.equal(await upload.done, "b1");
  assert.equal(upload.state, "done");
  assert.deepEqual(moves, [0, 400, 800, 1000]);
  const { bytes, metadata } = host.uploads.get("/v1/blobs/files/b1");
  assert.deepEqual(new Uint8Array(bytes), pattern(1000));
  const pairs = metadata
    .split(",")
    .map((pair) => pair.split(" "))
    .map(([key, value]) => [key, Buffer.from(value, "base64").toString()]);
  assert.deepEqual(pairs, [
    ["filename", "Übung.bin"],
    ["filetype", "x/y"],
    ["conversation", "C1"],
  ]);
  const sum = (from, to) => `sha256 ${createHash("sha256").update(pattern(1000).subarray(from, to)).digest("base64")}`;
  assert.deepEqual(sums, [sum(0, 400), sum(400, 800), sum(800, 1000)]);
  assert.ok(
    host.requests.every(({ headers }) => headers.authorization === "Bearer t" && headers["tus-resumable"] === "1.0.0"),
  );
  const back = await host.blobs().download("files", "b1");
  assert.deepEqual([back.type, new Uint8Array(await back.arrayBuffer())], ["image/png", pattern(1000)]);
});

test("an empty file uploads to an app other than the default", async () => {
  const host = await hosted();
  assert.equal(await host.blobs({ app: "shop" }).upload("files", file(0)).done, "b1");
  assert.deepEqual(
    host.requests.map(({ method, url }) => [method, url]),
    [["POST", "/v1/apps/shop/blobs/files"]],
  );
});

test("broken connections, retryable errors and an absent server only delay an upload", async () => {
  const host = await hosted();
  let trouble = 0;
  host.intercept = async (request, response) => {
    if (request.method !== "PATCH" || ++trouble > 3) return false;
    if (trouble === 1) {
      await receive(request, host.uploads.get(request.url), 300);
      request.socket.destroy();
    } else if (trouble === 2) {
      request.resume();
      refuse(response, 503, "busy", true);
    } else {
      void host.stop();
    }
    return true;
  };
  const upload = host.blobs().upload("files", file(100_000));
  await new Promise((gone) =>
    upload.addEventListener("state", ({ detail }) => {
      if (detail.state === "waiting" && trouble === 3) gone();
    }),
  );
  assert.equal(upload.state, "waiting");
  await host.start();
  assert.equal(await upload.done, "b1");
  assert.deepEqual(new Uint8Array(host.uploads.get("/v1/blobs/files/b1").bytes), pattern(100_000));
  const offsets = host.requests
    .filter(({ method }) => method === "PATCH")
    .map(({ headers }) => headers["upload-offset"]);
  assert.deepEqual(offsets.slice(0, 2), ["0", "300"]);
});

test("the same file resumes after a reload, and its entry is removed when it is done", async () => {
  const host = await hosted();
  const storage = memory();
  host.intercept = async (request) => {
    if (request.method !== "PATCH") return false;
    await receive(request, host.uploads.get(request.url), 600);
    request.socket.destroy();
    return true;
  };
  const first = host.blobs({ storage, backOff: { first: 1e6, longest: 1e6 } }).upload("files", file(1000));
  await becomes(first, "waiting");
  // The page was closed; its upload doesn't run any more.
  first.pause();
  host.intercept = () => false;
  host.requests = [];
  const { Blobs: Fresh } = await import("../uploads.js?reloaded");
  const again = () => new Fresh({ url: `http://127.0.0.1:${host.port}`, storage });
  assert.equal(await again().upload("files", file(1000)).done, "b1");
  assert.deepEqual(host.methods(), ["HEAD", "PATCH"]);
  assert.equal(host.requests[1].headers["upload-offset"], "600");
  assert.equal(await again().upload("files", file(1000)).done, "b2");
  assert.equal(await again().upload("files", file(1000), { conversation: "C" }).done, "b3");
});

test("two concurrent uploads of one file are independent", async () => {
  const host = await hosted();
  const blobs = host.blobs({ storage: memory() });
  const [first, second] = [blobs.upload("files", file(1000)), blobs.upload("files", file(1000))];
  assert.deepEqual([await first.done, await second.done].sort(), ["b1", "b2"]);
});

test("an upload that the server discarded restarts", async () => {
  const host = await hosted();
  let lost = false;
  host.intercept = async (request) => {
    if (request.method !== "PATCH" || lost) return false;
    lost = true;
    host.uploads.clear();
    request.socket.destroy();
    return true;
  };
  assert.equal(await host.blobs().upload("files", file(1000)).done, "b1");
  assert.deepEqual(host.methods(), ["POST", "PATCH", "HEAD", "POST", "PATCH"]);
});

test("a rejected upload fails with the server's code, at its start or at its end", async () => {
  const host = await hosted();
  for (const refused of ["POST", "PATCH"]) {
    host.intercept = ({ method }, response) =>
      method === refused && (refuse(response, 403, "files.limit_storage", false), true);
    const upload = host.blobs().upload("files", file(10));
    await assert.rejects(upload.done, { code: "files.limit_storage", retry: false });
    assert.equal(upload.state, "failed");
  }
  // A proxy that doesn't know the protocol.
  host.intercept = (request, response) => (response.writeHead(413).end("<html>"), true);
  await assert.rejects(host.blobs().upload("files", file(10)).done, { code: "limit_bytes", retry: false });
});

test("a part with a wrong checksum is resent a limited number of times", async () => {
  const host = await hosted();
  host.intercept = ({ method }, response) =>
    method === "PATCH" && (refuse(response, 460, "invalid_checksum", false), true);
  await assert.rejects(host.blobs().upload("files", file(10), { checksum: "sha1" }).done, {
    code: "invalid_checksum",
  });
  assert.equal(host.methods().filter((method) => method === "PATCH").length, 4);
});

test("an unreadable file is reported as such, not as a broken connection", async () => {
  const host = await hosted();
  const gone = file(10);
  gone.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("gone")), size: 10 });
  const failing = (url, request) =>
    request.method === "PATCH" ? Promise.reject(new TypeError("failed")) : fetch(url, request);
  await assert.rejects(host.blobs({ fetch: failing }).upload("files", gone).done, {
    code: "unreadable_file",
    retry: false,
  });
});

test("a paused upload sends nothing, and `resume` retries a waiting one at once", async () => {
  const host = await hosted();
  let held;
  const holding = new Promise((begun) => {
    host.intercept = async (request) => {
      if (request.method !== "PATCH" || held) return false;
      held = true;
      await receive(request, host.uploads.get(request.url), 100);
      begun();
      return true;
    };
  });
  const upload = host.blobs({ backOff: { first: 1e6, longest: 1e6 } }).upload("files", file(1000));
  await holding;
  upload.pause();
  assert.equal(upload.state, "paused");
  const requests = host.requests.length;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(host.requests.length, requests);
  host.intercept = (request) => request.method === "HEAD" && (request.socket.destroy(), true);
  upload.resume();
  await becomes(upload, "waiting");
  host.intercept = () => false;
  upload.resume();
  assert.equal(await upload.done, "b1");
  assert.equal(host.uploads.get("/v1/blobs/files/b1").bytes.length, 1000);
});

test("an aborted upload is deleted on the server, and can't resume", async () => {
  const host = await hosted();
  const removed = new Promise((done) => {
    host.intercept = (request) => {
      if (request.method === "DELETE") done();
      return request.method === "PATCH";
    };
  });
  const upload = host.blobs().upload("files", file(1000));
  await new Promise((begun) => upload.addEventListener("progress", begun));
  upload.abort();
  await assert.rejects(upload.done, { code: "aborted", retry: false });
  await removed;
  upload.resume();
  assert.equal(upload.state, "aborted");
});

test("a download resumes after a broken connection, and reports its progress", async () => {
  const host = await hosted();
  const bytes = Buffer.from(pattern(300_000));
  host.uploads.set("/v1/blobs/files/b1", { bytes });
  let broken = 0;
  host.intercept = ({ method, headers, socket }, response) => {
    if (method !== "GET" || ++broken > 2) return false;
    const from = Number(/\d+/.exec(headers.range ?? "0")[0]);
    response.writeHead(from ? 206 : 200, { "content-length": String(bytes.length - from), etag: '"b1"' });
    response.write(bytes.subarray(from, from + 100_000), () => setTimeout(() => socket.destroy(), 5));
    return true;
  };
  const moves = [];
  const back = await host.blobs().download("files", "b1", { onprogress: (...move) => moves.push(move) });
  assert.deepEqual(new Uint8Array(await back.arrayBuffer()), new Uint8Array(bytes));
  assert.deepEqual(moves.at(-1), [300_000, 300_000]);
  const ranges = host.requests.map(({ headers }) => [headers.range, headers["if-range"]]);
  assert.deepEqual(ranges[0], [undefined, undefined]);
  assert.ok(
    ranges.length >= 2 && ranges.slice(1).every(([range, tag]) => /^bytes=\d+-$/.test(range) && tag === '"b1"'),
    JSON.stringify(ranges),
  );
});

test("a missing blob is rejected, and a download can be aborted", async () => {
  const host = await hosted();
  await assert.rejects(host.blobs().download("files", "none"), { code: "unknown_blob", retry: false });
  host.intercept = () => true;
  const controller = new AbortController();
  const download = host.blobs().download("files", "b1", { signal: controller.signal });
  controller.abort();
  await assert.rejects(download, { code: "aborted" });
  host.intercept = () => false;
  host.uploads.set("/v1/blobs/files/b9", { bytes: Buffer.from("x") });
  await host.blobs().remove("files", "b9");
  assert.equal(host.uploads.has("/v1/blobs/files/b9"), false);
  await assert.rejects(host.blobs().remove("files", "b9"), { code: "unknown_blob" });
});

test("a name that is too long keeps its end", async () => {
  const host = await hosted();
  await host.blobs().upload("files", file(0, `${"ü".repeat(300)}.png`)).done;
  const [[, name]] = host.requests.map(({ headers }) => /^filename (\S+?),/.exec(headers["upload-metadata"]));
  const text = Buffer.from(name, "base64").toString();
  assert.ok(Buffer.byteLength(text) <= 255 && text.startsWith("üü") && text.endsWith("ü.png"));
});
