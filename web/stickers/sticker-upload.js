// From a file to a sticker: uploaded, inspected by the server, put into a pack.

import { element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { blobs } from "../shell/pictures.js";
import { noteStickers, now } from "./stickers.js";

/** What is wrong with files that are refused; docs/plugins/stickers.md. */
const FLAWS = {
  unknown_format: "it is none of PNG, APNG, WebP and Lottie",
  bad_media_type: "it is something else than its name says",
  damaged: "it is damaged",
  bad_dimensions: "it is too large: make it smaller, 512 pixels at most",
  too_many_frames: "it has too many frames",
  too_long: "it lasts too long",
  metadata: "it has metadata (EXIF or XMP), which may tell where it was made; take that out",
  unsafe: "it has parts that are not allowed in stickers",
};

const TYPES = { png: "image/png", apng: "image/apng", webp: "image/webp", json: "application/json", lottie: "video/lottie+json" };

const typeOf = ({ name, type }) => type || TYPES[name.split(".").at(-1).toLowerCase()] || "";

/** Waits until the server has looked into an upload; a signal says so, which may be missed. */
function inspected(blob) {
  return new Promise((done, failed) => {
    const finish = (settle, value) => {
      chat.removeEventListener("signal", heard);
      clearInterval(asking);
      settle(value);
    };
    const heard = ({ detail: { plugin, name, payload } }) =>
      plugin === "stickers" && name === "inspected" && payload.blob === blob && finish(done, payload);
    const ask = () => chat.call("stickers.upload", { blob }).then(
      (upload) => upload.state !== "checking" && finish(done, upload),
      (error) => error.retry || finish(failed, error));
    chat.addEventListener("signal", heard);
    const asking = setInterval(ask, 3_000);
    void ask();
  });
}

/** One after the other, so that stickers of one pack don't ask for the same place in it. */
let adding = Promise.resolve();

/** Makes a sticker of a file; shows how far it is in a list. Returns whether it worked. */
export async function uploadSticker(pack, file, shown) {
  const words = element("span", {}, `${file.name}: uploading…`);
  const line = element("li", {}, words);
  line.dataset.test = "sticker-upload";
  shown.append(line);
  const say = (text, state) => {
    words.textContent = `${file.name}: ${text}`;
    line.dataset.state = state;
  };
  try {
    const blob = await blobs.upload("stickers", file, { mediaType: typeOf(file) }).done;
    say("being looked into…", "checking");
    const { state, flaw } = await inspected(blob);
    if (state !== "ready") return void say(FLAWS[flaw] ?? "it is refused", "refused");
    const keywords = file.name.replace(/\.[^.]*$/, "").split(/[^\p{L}\p{N}]+/u).filter(Boolean);
    const named = keywords.map((word) => word.toLowerCase().slice(0, 32)).slice(0, 10);
    const since = now();
    const added = adding.then(() => chat.call("stickers.add_sticker", { pack, blob, keywords: named }));
    adding = added.catch(() => {});
    noteStickers([await added], since);
    line.remove();
    return true;
  } catch (error) {
    say(error.message, "refused");
    return false;
  }
}
