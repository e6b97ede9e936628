// Files on their way: uploaded, then sent as messages. Broken connections only make them wait.

import { ulid } from "/client/courtyard.js";
import { blobs } from "./pictures.js";
import { chat } from "./session.js";
import { changed, conversations } from "./conversations.js";
import { keep } from "./cache.js";

/** Uploads at a time. */
const AT_ONCE = 3;
/** What browsers show as images; others are files like any other. */
const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/apng"]);

const sendings = new Map();
const queue = [];
let running = 0;

export function kindOf({ type }) {
  if (IMAGES.has(type)) return "image";
  if (type.startsWith("video/")) return "video";
  return type.startsWith("audio/") ? "voice" : "file";
}

/** A file on its way; it tells `change` when it moves. */
class Sending extends EventTarget {
  upload = null;

  constructor(conversation, file, row) {
    super();
    Object.assign(this, { conversation, file, row, url: URL.createObjectURL(file) });
  }

  /** `queued`, or the state of the upload. */
  get state() {
    return this.upload?.state ?? "queued";
  }

  get sent() {
    return this.upload?.sent ?? 0;
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  cancel() {
    if (this.upload) this.upload.abort();
    else end(this);
  }
}

/** Returns what is on its way as this row, if it is a file. */
export const sendingOf = (id) => sendings.get(id);

/** Uploads a file and sends it; `content` are further members of its message. */
export function sendFile(conversation, file, content = {}, kind = kindOf(file)) {
  const row = {
    id: ulid(), kind, state: "queued", conversation: conversation.id,
    content: { name: file.name, media_type: file.type, size: file.size, ...content },
  };
  const sending = new Sending(conversation, file, row);
  Object.assign(row, { retry: () => sendFile(conversation, file, content, kind), drop: () => end(sending) });
  sendings.set(row.id, sending);
  conversation.pending.push(row);
  queue.push(sending);
  changed("messages", { toEnd: true });
  next();
}

function next() {
  while (running < AT_ONCE && queue.length > 0) void carry(queue.shift());
}

async function carry(sending) {
  const { conversation, file, row } = sending;
  running += 1;
  const upload = blobs.upload("files", file, { conversation: conversation.id });
  sending.upload = upload;
  for (const type of ["progress", "state"]) upload.addEventListener(type, () => sending.changed());
  sending.changed();
  try {
    const blob = await upload.done;
    keep("files", blob, file);
    end(sending);
    send(conversation, { ...row.content, blob }, row.kind);
  } catch (error) {
    if (error.code === "aborted") end(sending);
    else Object.assign(row, { state: "failed", reason: error.message });
    changed("messages");
  } finally {
    running -= 1;
    next();
  }
}

function send(conversation, content, kind) {
  const sent = chat.send(conversation.id, content, kind);
  changed("messages", { toEnd: true });
  sent.catch((error) => {
    // The server looked into it and found no image; it is a file all the same.
    if (error.code !== "files.not_an_image" || kind !== "image") return;
    conversation.pending = conversation.pending.filter(({ id }) => id !== sent.id);
    send(conversation, content, "file");
  });
}

/** Forgets a file that was sent, or is not to be. */
function end(sending) {
  const { conversation, row } = sending;
  if (!sendings.delete(row.id)) return;
  const at = queue.indexOf(sending);
  if (at >= 0) queue.splice(at, 1);
  URL.revokeObjectURL(sending.url);
  conversation.pending = conversation.pending.filter((other) => other !== row);
  changed("messages");
}

chat.addEventListener("state", ({ detail: { state } }) => {
  if (state !== "online") return;
  for (const { upload } of sendings.values()) if (upload?.state === "waiting") upload.resume();
});
chat.addEventListener("left", ({ detail: { conversation } }) => {
  for (const sending of [...sendings.values()]) if (sending.conversation.id === conversation) sending.cancel();
});
addEventListener("beforeunload", (leaving) => {
  if ([...sendings.values()].some(({ row }) => row.state === "queued")) leaving.preventDefault();
});
