// Uploads a file, waits for its inspection by the server, and adds it to a pack.

import { element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { blobs } from "../shell/pictures.js";
import { noteStickers, now } from "./stickers.js";

/** Sentences for the flaws of rejected files: docs/plugins/stickers.md. */
const FLAWS = {
  unknown_format: "not a PNG, APNG, WebP or Lottie file",
  bad_media_type: "the content doesn't match the file type",
  damaged: "the file is damaged",
  bad_dimensions: "too large: at most 512 pixels in width and height",
  too_many_frames: "too many frames",
  too_long: "too long",
  metadata: "contains metadata (EXIF or XMP), which can reveal a place: remove it",
  unsafe: "contains parts that are not allowed in stickers",
};

const TYPES = {
  png: "image/png",
  apng: "image/apng",
  webp: "image/webp",
  json: "application/json",
  lottie: "video/lottie+json",
};

const typeOf = ({ name, type }) => type || TYPES[name.split(".").at(-1).toLowerCase()] || "";

/** Resolves when the server has inspected an upload. A signal reports it; polling covers a lost signal. */
function inspected(blob) {
  return new Promise((done, failed) => {
    const finish = (settle, value) => {
      chat.removeEventListener("signal", onSignal);
      clearInterval(polling);
      settle(value);
    };
    const onSignal = ({ detail: { plugin, name, payload } }) =>
      plugin === "stickers" && name === "inspected" && payload.blob === blob && finish(done, payload);
    const poll = () =>
      chat.call("stickers.upload", { blob }).then(
        (upload) => upload.state !== "checking" && finish(done, upload),
        (error) => error.retry || finish(failed, error),
      );
    chat.addEventListener("signal", onSignal);
    const polling = setInterval(poll, 3_000);
    void poll();
  });
}

/** Stickers are added one after the other, so that two of one pack don't conflict. */
let adding = Promise.resolve();

/** Adds a file to a pack as a sticker and shows the progress in a list. Returns true on success. */
export async function uploadSticker(pack, file, shown) {
  const words = element("span", {}, `${file.name}: uploading…`);
  const line = element("li", {}, words);
  line.dataset.test = "sticker-upload";
  shown.append(line);
  const showState = (text, state) => {
    words.textContent = `${file.name}: ${text}`;
    line.dataset.state = state;
  };
  try {
    const blob = await blobs.upload("stickers", file, { mediaType: typeOf(file) }).done;
    showState("checking…", "checking");
    const { state, flaw } = await inspected(blob);
    if (state !== "ready") return void showState(FLAWS[flaw] ?? "refused", "refused");
    const keywords = file.name
      .replace(/\.[^.]*$/, "")
      .split(/[^\p{L}\p{N}]+/u)
      .filter(Boolean);
    const named = keywords.map((word) => word.toLowerCase().slice(0, 32)).slice(0, 10);
    const since = now();
    const added = adding.then(() => chat.call("stickers.add_sticker", { pack, blob, keywords: named }));
    adding = added.catch(() => {});
    noteStickers([await added], since);
    line.remove();
    return true;
  } catch (error) {
    showState(error.message, "refused");
    return false;
  }
}
