// A real provider of OpenID Connect that signs everybody in as Ann A. without a form.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const folder = join(resolve(import.meta.dirname, "../.."), "tests/oidc");

export class ThirdParty {
  /** Starts the provider; it redirects to `redirect`. */
  static async start(redirect) {
    const party = new ThirdParty();
    party.process = spawn("node", ["server.js", "ES256", redirect], { cwd: folder, stdio: ["pipe", "pipe", "ignore"] });
    const gone = once(party.process, "exit").then(() => {
      throw new Error("the provider ended: run `npm ci` in tests/oidc");
    });
    const line = once(createInterface({ input: party.process.stdout }), "line");
    gone.catch(() => {});
    [party.issuer] = await Promise.race([line, gone]);
    party.redirect = redirect;
    return party;
  }

  /** TOML for the tables of the users plugin. */
  get settings() {
    return `
      [plugins.config.oidc]
      redirects = ["${this.redirect}"]
      [[plugins.config.oidc.providers]]
      id = "example"
      name = "Example"
      issuer = "${this.issuer}"
      client_id = "chat"
      client_secret = "example"
      [plugins.secrets]
      example = "a secret: of both"
      [plugins.fetch]
      hosts = ["GET,POST ${this.issuer}"]
    `;
  }

  close() {
    this.process.kill();
  }
}
