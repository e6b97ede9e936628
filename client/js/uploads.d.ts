import type { CourtyardError } from "./courtyard.js";

export interface BlobsOptions {
  /** Of the host, such as `https://chat.example`. */
  url: string;
  app?: string;
  /** Asked for anew with each request, if it is a function. */
  token?: string | (() => string | undefined);
  /** Keeps where uploads go on; those of a page that has none begin anew after a reload. */
  storage?: Pick<Storage, "getItem" | "setItem">;
  /** Milliseconds: 500, doubled up to 30,000, each time a random part between half and all of it. */
  backOff?: { first: number; longest: number };
  fetch?: typeof fetch;
  /** Tells progress inside of a request, where there is one. */
  XMLHttpRequest?: typeof XMLHttpRequest;
}

export interface UploadOptions {
  /** Those of the file, if left out. A name of over 255 bytes is cut in its middle. */
  name?: string;
  mediaType?: string;
  /** The conversation that the blob is for. */
  conversation?: string;
  /** Lets the server check each part; needs a page that came over HTTPS or from this machine. */
  checksum?: "sha1" | "sha256";
  /** Bytes of one request; 8 MiB if left out. */
  chunk?: number;
}

/** The blobs of a host: what is uploaded to plugins and downloaded from them. */
export declare class Blobs {
  constructor(options: BlobsOptions);
  /** Begins an upload, which lasts until it is done, refused or aborted: broken connections only make it wait. */
  upload(plugin: string, file: Blob, options?: UploadOptions): Upload;
  /** Rejects with a `CourtyardError`; `onprogress` gets the bytes received and, if it is known, the size. */
  download(plugin: string, id: string, options?: {
    signal?: AbortSignal;
    onprogress?: (received: number, size: number) => void;
  }): Promise<Blob>;
  remove(plugin: string, id: string): Promise<void>;
}

export type UploadState = "uploading" | "waiting" | "paused" | "done" | "failed" | "aborted";

/**
 * A file on its way to a plugin.
 *
 * Events: `progress` (detail: {sent, size}), `state` (detail: {state, error?: CourtyardError, retryAt?}).
 */
export declare class Upload extends EventTarget {
  private constructor();
  /** Resolves with the id of the blob, or rejects with a `CourtyardError`. */
  readonly done: Promise<string>;
  readonly state: UploadState;
  readonly sent: number;
  readonly size: number;
  /** Stops sending; the server keeps what it has for some time. */
  pause(): void;
  /** Goes on after `pause`, and tries again at once when it waits. */
  resume(): void;
  /** Breaks it off; the server forgets what it has. */
  abort(): void;
}
