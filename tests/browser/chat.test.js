// Two people in a real browser, on the real server, which is killed while messages fly.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const root = resolve(import.meta.dirname, "../..");
const binary = process.env.COURTYARD_BIN ?? join(root, "target/debug/courtyard");
const plugins = process.env.COURTYARD_PLUGINS ?? join(root, "target/plugins");
const pictures = join(root, "target/screenshots");

let folder, port, server, browser;

const freePort = () => new Promise((found) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => found(port));
  });
});

/** Starts the server and waits until it listens. */
function start() {
  server = spawn(binary, ["serve", "--config", join(folder, "courtyard.toml")], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((listening, failed) => {
    server.stdout.once("data", listening);
    server.once("exit", () => failed(new Error("the server ended")));
  });
}

function kill() {
  const gone = new Promise((ended) => server.once("exit", ended));
  server.removeAllListeners("exit");
  server.once("exit", () => {});
  const ended = new Promise((done) => server.once("close", done));
  server.kill("SIGKILL");
  return Promise.race([gone, ended]);
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "courtyard-"));
  port = await freePort();
  mkdirSync(pictures, { recursive: true });
  writeFileSync(join(folder, "courtyard.toml"), `
    data = "data"
    [[listen]]
    address = "127.0.0.1:${port}"
    [[http.static]]
    at = "/"
    folder = ${JSON.stringify(join(root, "examples/web-chat"))}
    [[http.static]]
    at = "/client/"
    folder = ${JSON.stringify(join(root, "client/js"))}
    [[plugins]]
    id = "users"
    path = ${JSON.stringify(join(plugins, "users.wasm"))}
    grant = ["kv", "conversations", "sessions"]
    [plugins.config.argon2]
    memory_kib = 64
    iterations = 1
    parallelism = 1
  `);
  await start();
  browser = await chromium.launch({
    executablePath: process.env.COURTYARD_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});

after(async () => {
  await browser?.close();
  server?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Opens a page of its own and signs someone up. */
async function join_(name, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.fill("[data-test=name]", name);
  await page.fill("[data-test=password]", "correct horse");
  await page.click("[data-test=register]");
  await page.waitForFunction((name) => document.querySelector("[data-test=me]").textContent === name, name);
  return { page, complaints };
}

async function talk(page, partner) {
  await page.fill("[data-test=search]", partner);
  await page.click(`[data-test=person-${partner}]`);
  await page.waitForFunction((name) => document.querySelector("[data-test=title]").textContent === name, partner);
}

async function write(page, text) {
  await page.fill("[data-test=text]", text);
  await page.press("[data-test=text]", "Enter");
}

const sent = (page) => page.$$eval("#messages .note:not([data-state=queued])", (notes) =>
  notes.map((note) => ({ seq: Number(note.dataset.seq), text: note.dataset.text })));

const shows = (page, count) => page.waitForFunction((count) => {
  const notes = [...document.querySelectorAll("#messages .note")];
  return notes.length === count && notes.every((note) => note.dataset.state !== "queued");
}, count, { timeout: 60_000 });

test("two people chat, the server is killed while messages fly, and every message is there once and in order", async () => {
  const [ann, bob] = [await join_("ann"), await join_("bob", { viewport: { width: 390, height: 780 } })];
  await talk(ann.page, "bob");
  await talk(bob.page, "ann");
  await write(ann.page, "Hello Bob, have you seen https://example.org/ yet?");
  await shows(bob.page, 1);
  await write(bob.page, "Hello Ann!");
  await shows(ann.page, 2);

  for (let number = 0; number < 20; number++) {
    await write(ann.page, `a${number}`);
    await write(bob.page, `b${number}`);
    if (number === 10) await kill();
  }
  await ann.page.waitForSelector("[data-test=link]:not([hidden])");
  await ann.page.screenshot({ path: join(pictures, "desk-offline.png") });
  await start();
  await Promise.all([shows(ann.page, 42), shows(bob.page, 42)]);

  const [onAnns, onBobs] = [await sent(ann.page), await sent(bob.page)];
  assert.deepEqual(onAnns, onBobs);
  assert.deepEqual(onAnns.map(({ seq }) => seq), Array.from({ length: 42 }, (_, at) => at + 1));
  for (const who of ["a", "b"]) {
    const own = onAnns.map(({ text }) => text).filter((text) => new RegExp(`^${who}\\d+$`).test(text));
    assert.deepEqual(own, Array.from({ length: 20 }, (_, at) => `${who}${at}`));
  }
  await ann.page.screenshot({ path: join(pictures, "desk-chat.png") });
  await bob.page.screenshot({ path: join(pictures, "phone-chat.png") });

  await ann.page.reload();
  await talk(ann.page, "bob");
  await shows(ann.page, 42);
  await ann.page.emulateMedia({ colorScheme: "dark" });
  await ann.page.screenshot({ path: join(pictures, "desk-dark.png") });
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});

test("what is wrong at the door is said there", async () => {
  const { page } = await join_("carol");
  await page.click("[data-test=leave]");
  await page.waitForSelector("[data-test=sign]:visible");
  await page.screenshot({ path: join(pictures, "desk-door.png") });
  const tries = [["login", "wrong horse", "users.wrong_credentials"], ["register", "another horse", "users.name_taken"]];
  for (const [button, password, code] of tries) {
    await page.fill("[data-test=name]", "carol");
    await page.fill("[data-test=password]", password);
    await page.click(`[data-test=${button}]`);
    await page.waitForSelector(`[data-test=problem][data-code="${code}"]:visible`);
  }
});
