// Uploads files and sends them as messages. Uploads continue after a broken connection.

import { ulid } from "../client/courtyard.js";
import { blobs } from "../shell/pictures.js";
import { chat } from "../shell/session.js";
import { changed, conversations } from "../chat/conversations.js";
import { addBlob } from "../shell/blob-urls.js";

/** Parallel uploads. */
const AT_ONCE = 3;
/** Media types that browsers show as images. Others are sent as files. */
const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/apng"]);

const sendings = new Map();
const queue = [];
let running = 0;

export function kindOf({ type }) {
  if (IMAGES.has(type)) return "image";
  if (type.startsWith("video/")) return "video";
  return type.startsWith("audio/") ? "voice" : "file";
}

/** A file to be uploaded and sent. Dispatches `change` when its state or progress changes. */
class Sending extends EventTarget {
  upload = null;

  constructor(conversation, file, row, before) {
    super();
    Object.assign(this, { conversation, file, row, before, url: URL.createObjectURL(file) });
    this.settled = new Promise((settle) => (this.settle = settle));
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
    this.upload?.abort();
    end(this);
  }
}

/** Returns the pending file of a row, if it has one. */
export const sendingOf = (id) => sendings.get(id);

/**
 * Uploads files in parallel and sends them in order. `content` has further members of the first message. A failed file does not
 * delay the others.
 */
export function sendFiles(conversation, files, content) {
  let before;
  files.forEach((file, at) => (before = sendFile(conversation, file, at === 0 ? content : {}, kindOf(file), before)));
}

function sendFile(conversation, file, content, kind, before) {
  const row = {
    id: ulid(),
    kind,
    state: "queued",
    conversation: conversation.id,
    content: { name: file.name, media_type: file.type, size: file.size, ...content },
  };
  const sending = new Sending(conversation, file, row, before);
  Object.assign(row, {
    drop: () => end(sending),
    retry: () => {
      end(sending);
      void sendFile(conversation, file, content, kind);
    },
  });
  sendings.set(row.id, sending);
  conversation.pending.push(row);
  queue.push(sending);
  changed("messages", { toEnd: true });
  next();
  return sending.settled;
}

function next() {
  while (running < AT_ONCE && queue.length > 0) void carry(queue.shift());
}

async function carry(sending) {
  const { conversation, row } = sending;
  running += 1;
  const blob = await uploaded(sending);
  running -= 1;
  next();
  await sending.before;
  // It was cancelled or failed meanwhile.
  if (!blob || !sendings.has(row.id)) return sending.settle();
  addBlob("files", blob, sending.file);
  end(sending);
  send(conversation, { ...row.content, blob }, row.kind);
}

/** Uploads a file and resolves with its blob id, or with undefined if it failed (its row says why) or was cancelled. */
async function uploaded(sending) {
  const { conversation, file, row } = sending;
  const upload = blobs.upload("files", file, { conversation: conversation.id });
  sending.upload = upload;
  for (const type of ["progress", "state"]) upload.addEventListener(type, () => sending.changed());
  sending.changed();
  try {
    return await upload.done;
  } catch (error) {
    if (error.code === "aborted") end(sending);
    else Object.assign(row, { state: "failed", reason: error.message });
    sending.settle();
    changed("messages");
    return undefined;
  }
}

function send(conversation, content, kind) {
  const sent = chat.send(conversation.id, content, kind);
  changed("messages", { toEnd: true });
  sent.catch((error) => {
    // The server found no image in it: send it as a file.
    if (error.code !== "files.invalid_image" || kind !== "image") return;
    conversation.pending = conversation.pending.filter(({ id }) => id !== sent.id);
    send(conversation, content, "file");
  });
}

/** Removes a file that was sent or cancelled. */
function end(sending) {
  const { conversation, row } = sending;
  if (!sendings.delete(row.id)) return;
  sending.settle();
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
