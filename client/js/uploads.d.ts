import type { CourtyardError, TypedEventTargetBase } from "./courtyard.js";

export interface BlobsOptions {
  /** URL of the host, such as `https://chat.example`. */
  url: string;
  app?: string;
  /** A function is called for each request. */
  token?: string | (() => string | undefined);
  /** Stores the URLs of unfinished uploads; without it, uploads restart after a reload. */
  storage?: Pick<Storage, "getItem" | "setItem">;
  /** Pause between retries in milliseconds: from 500, doubled up to 30,000, times a random factor from 0.5 to 1. */
  backOff?: { first: number; longest: number };
  fetch?: typeof fetch;
  /** Reports progress within a request, where it exists. */
  XMLHttpRequest?: typeof XMLHttpRequest;
}

export interface UploadOptions {
  /** The file's if left out. A name of over 255 bytes is shortened in its middle. */
  name?: string;
  mediaType?: string;
  /** The conversation that the blob is for. */
  conversation?: string;
  /** Makes the server check each part; needs a secure context (HTTPS or localhost). */
  checksum?: "sha1" | "sha256";
  /** Bytes of one request; 8 MiB if left out. */
  chunk?: number;
}

/** The blobs of a host: uploads to plugins, and downloads from them. */
export declare class Blobs {
  constructor(options: BlobsOptions);
  /** Starts an upload. It runs until it is done, rejected or aborted; broken connections only delay it. */
  upload(plugin: string, file: Blob, options?: UploadOptions): Upload;
  /** Downloads a blob. Rejects with a `CourtyardError`; `onprogress` gets the received bytes, and the size (NaN if unknown). */
  download(plugin: string, id: string, options?: {
    signal?: AbortSignal;
    onprogress?: (received: number, size: number) => void;
  }): Promise<Blob>;
  remove(plugin: string, id: string): Promise<void>;
}

export type UploadState = "uploading" | "waiting" | "paused" | "done" | "failed" | "aborted";

/** The detail of each event of an `Upload`. */
export interface UploadEvents {
  progress: { sent: number; size: number };
  /** `retryAt` is the time of the next attempt, in milliseconds since 1970. */
  state: { state: UploadState; error?: CourtyardError; retryAt?: number };
}

/** An upload of a file to a plugin; created by `Blobs.upload`. */
export declare class Upload extends TypedEventTargetBase<UploadEvents> {
  private constructor();
  /** Resolves with the id of the blob, or rejects with a `CourtyardError`. */
  readonly done: Promise<string>;
  readonly state: UploadState;
  readonly sent: number;
  readonly size: number;
  /** Stops sending; the server keeps what it has for some time. */
  pause(): void;
  /** Continues after `pause`, and retries at once if it is waiting. */
  resume(): void;
  /** Aborts the upload; the server discards the received bytes. */
  abort(): void;
}
