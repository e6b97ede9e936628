// A server with plugins of the default configuration, and a browser, for one test file.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { chromium } from "playwright-core";
import { me } from "./page.js";

const root = resolve(import.meta.dirname, "../..");
const binary = process.env.COURTYARD_BIN ?? join(root, "target/debug/courtyard");
const plugins = process.env.COURTYARD_PLUGINS ?? join(root, "target/plugins");
const compiled = resolve(dirname(binary), "compiled");
const pictures = resolve(root, process.env.COURTYARD_SCREENSHOTS ?? "target/screenshots");

export const PASSWORD = "correct horse";
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
export const DESK = { viewport: { width: 1280, height: 800 } };

/** Grants of each plugin, as in config/courtyard.toml, and further TOML for its tables. */
const PLUGINS = {
  users: {
    grant: ["kv", "conversations", "sessions", "events", "jobs", "fetch", "blobs", "secrets", "watches"],
    // Cheap hashing and unlimited presence changes make the tests quick.
    more: "[plugins.config.presence]\ninterval_ms = 0\n[plugins.config.argon2]\nmemory_kib = 64\niterations = 1\nparallelism = 1",
  },
  files: { grant: ["kv", "jobs", "blobs", "sessions", "annotations", "memberships"] },
  translation: { grant: ["kv", "memberships", "annotations", "jobs", "fetch", "secrets", "sessions", "watches"] },
  stickers: { grant: ["kv", "jobs", "blobs", "sessions", "http"] },
  groups: { grant: ["annotations", "conversations", "kv", "methods", "sessions", "timers"] },
};

let probes = 0;

/**
 * Returns a free port that stays free while a server restarts: it is outside of the range of ephemeral ports, and other
 * processes start their search elsewhere.
 */
export async function freePort() {
  for (;;) {
    const port = 10_000 + ((process.pid * 11 + probes++) % 22_000);
    const isFree = await new Promise((known) => {
      const probe = createServer().once("error", () => known(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => known(true)));
    });
    if (isFree) return port;
  }
}

function plugin(id, { grant, more = "" }, further = "") {
  const path = JSON.stringify(join(plugins, `${id}.wasm`));
  return `[[plugins]]\nid = "${id}"\npath = ${path}\ngrant = ${JSON.stringify(grant)}\n${more}\n${further}\n`;
}

const folderOf = (at, folder) => `[[http.static]]\nat = "${at}"\nfolder = ${JSON.stringify(join(root, folder))}\n`;

export class Site {
  #folder = mkdtempSync(join(tmpdir(), "courtyard-"));
  #log = "";
  #waiting = new Set();

  /**
   * Starts a server with the page, and a browser.
   *
   * @param options {plugins: their ids, further: id → TOML for the tables of a plugin, port, top: TOML above them}
   */
  static async open({ plugins = ["users"], further = {}, port, top = "" } = {}) {
    const site = new Site();
    try {
      site.port = port ?? (await freePort());
      site.address = `http://127.0.0.1:${site.port}`;
      mkdirSync(pictures, { recursive: true });
      // Compiled code is shared with the other tests, as in tests/src/lib.rs.
      mkdirSync(compiled, { recursive: true });
      mkdirSync(join(site.#folder, "data"));
      symlinkSync(compiled, join(site.#folder, "data/compiled"));
      writeFileSync(
        join(site.#folder, "courtyard.toml"),
        [
          'data = "data"',
          top,
          `[[listen]]\naddress = "127.0.0.1:${site.port}"`,
          folderOf("/", "web"),
          folderOf("/client/", "client/js"),
          ...plugins.map((id) => plugin(id, PLUGINS[id], further[id])),
        ].join("\n"),
      );
      await site.start();
      site.browser = await chromium.launch({
        executablePath: process.env.COURTYARD_CHROMIUM ?? "/usr/bin/chromium",
        args: [
          "--headless",
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync",
        ],
      });
      console.log(`browser: Chromium ${site.browser.version()}`);
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  /** Starts the server and waits until it listens. */
  start() {
    const options = { stdio: ["ignore", "pipe", "pipe"] };
    const server = spawn(binary, ["serve", "--config", join(this.#folder, "courtyard.toml")], options);
    this.server = server;
    for (const stream of [server.stdout, server.stderr]) {
      stream.on("data", (bytes) => {
        this.#log += bytes;
        for (const look of this.#waiting) look();
      });
    }
    return new Promise((listening, failed) => {
      server.stdout.once("data", listening);
      server.once("error", failed);
      server.once("exit", () => failed(new Error(`the server ended:\n${this.#log}`)));
    });
  }

  /** Kills the server with SIGKILL. */
  async kill() {
    const { server } = this;
    if (server.exitCode !== null || server.signalCode !== null) return;
    const gone = new Promise((ended) => server.once("close", ended));
    server.kill("SIGKILL");
    await gone;
  }

  /** Waits until the log of the server matches a pattern, and returns the match. */
  logged(pattern) {
    return new Promise((found) => {
      const look = () => {
        const match = this.#log.match(pattern);
        if (!match) return;
        this.#waiting.delete(look);
        found(match);
      };
      this.#waiting.add(look);
      look();
    });
  }

  async close() {
    await this.browser?.close();
    if (this.server) await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Closes all pages, for the end of a test. */
  async empty() {
    await Promise.all(this.browser.contexts().map((context) => context.close()));
  }

  /**
   * Opens a page in a new browser context without signing in, at a path of the site or at another address. `script` runs
   * before the scripts of the page. `complaints` collects its uncaught errors.
   */
  async visit({ script, ...options } = {}, path = "/") {
    const context = await this.browser.newContext({ viewport: { width: 1100, height: 760 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    if (script) await page.addInitScript(script);
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(new URL(path, this.address).href);
    return { page, complaints };
  }

  /** Opens a page in a new browser context and registers a user; with `login`, signs in. */
  async join(name, options = {}, how = "register", path = "/") {
    const { page, complaints } = await this.visit(options, path);
    await this.enter(page, name, how);
    return { page, complaints };
  }

  /** Registers a user on a page; with `login`, signs in. */
  async enter(page, name, how = "register") {
    await page.fill("[data-test=name]", name);
    await page.fill("[data-test=password]", PASSWORD);
    await page.click(`[data-test=${how}]`);
    await me(page, name);
  }

  /** Takes a screenshot for people, in target/screenshots or the folder COURTYARD_SCREENSHOTS. */
  picture(page, name) {
    return page.screenshot({ path: join(pictures, `${name}.png`) });
  }
}
