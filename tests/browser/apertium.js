// A real server of Apertium, which translates between English and Spanish.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { freePort } from "./site.js";

const NEEDS = "Apertium does not run: is it there? `apt-get install --no-install-recommends apertium-apy apertium-eng-spa` installs it";

export class Apertium {
  /** Starts it and waits until it answers. */
  static async start() {
    const apertium = new Apertium();
    const port = await freePort();
    apertium.url = `http://127.0.0.1:${port}`;
    const stdio = ["ignore", "ignore", "pipe"];
    apertium.process = spawn("apertium-apy", ["--port", String(port), "/usr/share/apertium"], { stdio });
    let isGone = false;
    const gone = once(apertium.process, "exit").finally(() => (isGone = true)).then(() => {
      throw new Error(NEEDS);
    }, () => {
      throw new Error(NEEDS);
    });
    gone.catch(() => {});
    // It says that just before it listens.
    const says = new Promise((said) => apertium.process.stderr.on("data", (line) => /Serving on/.test(line) && said()));
    await Promise.race([says, gone]);
    const asked = () => fetch(`${apertium.url}/listPairs`).then((answer) => answer.json());
    let pairs;
    while (!pairs && !isGone) pairs = await asked().catch(() => undefined);
    const has = (source, target) => pairs?.responseData.some(({ sourceLanguage, targetLanguage }) =>
      sourceLanguage === source && targetLanguage === target);
    if (has("eng", "spa") && has("spa", "eng")) return apertium;
    apertium.close();
    throw new Error(NEEDS);
  }

  /** What the translation plugin is told about it. */
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
