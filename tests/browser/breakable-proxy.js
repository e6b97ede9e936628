// A TCP proxy that breaks on command: it resets real connections in the middle of their data.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class BreakableProxy {
  /** Bytes sent to the server. */
  sent = 0;
  #server;
  #connections = new Set();
  #isDown = false;
  #limit = Infinity;
  #broken;

  /** Opens a proxy to a port of this machine. */
  static async to(port) {
    const proxy = new BreakableProxy();
    proxy.#server = createServer((client) => proxy.#carry(client, port));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.address = `http://127.0.0.1:${proxy.#server.address().port}/`;
    return proxy;
  }

  #carry(client, port) {
    if (this.#isDown) return client.resetAndDestroy();
    const server = connect(port, "127.0.0.1");
    const ends = [client, server];
    this.#connections.add(ends);
    for (const [end, other] of [
      [client, server],
      [server, client],
    ]) {
      end.on("error", () => other.resetAndDestroy());
      end.on("close", () => {
        other.destroy();
        this.#connections.delete(ends);
      });
      end.on("end", () => other.end());
      end.on("drain", () => other.resume());
      end.on("data", (bytes) => {
        if (end === client && !this.#passes(bytes.length)) return;
        if (!other.write(bytes)) end.pause();
      });
    }
  }

  /** Counts bytes to the server. Returns false and breaks the connections at the limit. */
  #passes(bytes) {
    this.sent += bytes;
    if (this.sent < this.#limit) return true;
    this.#limit = Infinity;
    this.#cut();
    return false;
  }

  #cut() {
    this.#isDown = true;
    for (const end of [...this.#connections].flat()) end.resetAndDestroy();
    this.#broken();
  }

  /** Breaks all connections after `bytes` more bytes to the server, and refuses new ones until `mend`. Resolves when broken. */
  breaksAfter(bytes) {
    this.#limit = this.sent + bytes;
    return new Promise((broken) => (this.#broken = broken));
  }

  mend() {
    this.#isDown = false;
  }

  close() {
    this.#server.close();
    for (const end of [...this.#connections].flat()) end.destroy();
  }
}
