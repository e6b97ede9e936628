// Uploads a file as an app would that uses tus-js-client, and prints where it is.
// Usage: node upload.js ENDPOINT TOKEN CONVERSATION FILE

import { createReadStream } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, token, conversation, file] = process.argv.slice(2);

const upload = new Upload(createReadStream(file), {
  endpoint,
  headers: { authorization: `Bearer ${token}` },
  metadata: { filename: "large.bin", filetype: "application/octet-stream", conversation },
  // The server is gone for a while, and the machine may be busy.
  retryDelays: Array(120).fill(500),
  onError(error) {
    console.error(error);
    process.exit(1);
  },
  onSuccess() {
    console.log(upload.url);
  },
});
upload.start();
