// A real server of Apertium, which translates between English and Spanish.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { freePort } from "./site.js";

const NEEDS =
  "Apertium does not run. Install it with `apt-get install --no-install-recommends apertium-apy apertium-eng-spa`";

export class Apertium {
  /** Starts the server and waits until it answers. */
  static async start() {
    const apertium = new Apertium();
    const port = await freePort();
    apertium.url = `http://127.0.0.1:${port}`;
    const stdio = ["ignore", "ignore", "pipe"];
    apertium.process = spawn("apertium-apy", ["--port", String(port), "/usr/share/apertium"], { stdio });
    let isGone = false;
    const gone = once(apertium.process, "exit")
      .finally(() => (isGone = true))
      .then(
        () => {
          throw new Error(NEEDS);
        },
        () => {
          throw new Error(NEEDS);
        },
      );
    gone.catch(() => {});
    // The line is logged just before it listens.
    const ready = new Promise((logged) =>
      apertium.process.stderr.on("data", (line) => /Serving on/.test(line) && logged()),
    );
    await Promise.race([ready, gone]);
    const listPairs = () => fetch(`${apertium.url}/listPairs`).then((answer) => answer.json());
    let pairs;
    while (!pairs && !isGone) pairs = await listPairs().catch(() => undefined);
    const has = (source, target) =>
      pairs?.responseData.some(
        ({ sourceLanguage, targetLanguage }) => sourceLanguage === source && targetLanguage === target,
      );
    if (has("eng", "spa") && has("spa", "eng")) return apertium;
    apertium.close();
    throw new Error(NEEDS);
  }

  /** TOML for the tables of the translation plugin. */
  get settings() {
    return `
      [plugins.config]
      providers = [{ api = "apertium", url = "${this.url}" }]
      [plugins.fetch]
      hosts = ["POST ${this.url}"]
    `;
  }

  close() {
    this.process.kill();
  }
}
