// A link to the server that breaks when it is told to: real connections, which are reset in the middle of what they carry.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Link {
  /** How many bytes went to the server. */
  sent = 0;
  #server;
  #connections = new Set();
  #isDown = false;
  #limit = Infinity;
  #broken;

  /** Opens a link to a port of this machine. */
  static async to(port) {
    const link = new Link();
    link.#server = createServer((client) => link.#carry(client, port));
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    link.address = `http://127.0.0.1:${link.#server.address().port}/`;
    return link;
  }

  #carry(client, port) {
    if (this.#isDown) return client.resetAndDestroy();
    const server = connect(port, "127.0.0.1");
    const ends = [client, server];
    this.#connections.add(ends);
    for (const [end, other] of [[client, server], [server, client]]) {
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

  /** Counts what goes to the server, and breaks the link where it is to break. */
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

  /** Breaks all connections when so many more bytes have gone to the server, and takes no others; resolves then. */
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
