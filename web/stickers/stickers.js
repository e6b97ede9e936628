// Stickers: what is known of them, how they are drawn, and messages that are one.

import { Latest, now } from "../client/latest.js";
import { button, element, tell } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { kinds } from "../chat/content.js";
import { changed, current } from "../chat/conversations.js";
import { furtherActs } from "../chat/message-menu.js";
import { urlOf } from "../shell/blob-urls.js";
import { blobs } from "../shell/pictures.js";
import { animate } from "./animation.js";

const nameOf = ({ pack, sticker }) => `${pack}/${sticker}`;

/** Stickers by name; null for those that are gone. */
const known = new Map();
/** What is to be resolved, by name. */
const places = new Map();
const resolved = new Latest(async (names) => {
  const wanted = names.map((name) => places.get(name));
  const { stickers } = await chat.call("stickers.resolve", { stickers: wanted });
  const found = new Map(stickers.map((sticker) => [nameOf(sticker), sticker]));
  return names.map((name) => found.get(name) ?? null);
}, (sticker, name) => {
  known.set(name, sticker);
  return sticker;
}, 100);

export { now };

/** Takes stickers from an answer of the plugin whose request began at the moment `since`, and returns them. */
export function noteStickers(stickers, since) {
  for (const sticker of stickers) {
    places.set(nameOf(sticker), { pack: sticker.pack, sticker: sticker.sticker });
    resolved.offer(nameOf(sticker), sticker, since);
  }
  return stickers;
}

/** Returns what is known of a sticker, or null if it is gone; many at a time are asked for together. */
async function resolve({ pack, sticker }) {
  const name = nameOf({ pack, sticker });
  if (known.has(name)) return known.get(name);
  places.set(name, { pack, sticker });
  return resolved.need(name);
}

const isLottie = ({ format }) => format === "lottie";
const drawings = new Map();

/** The blob of a sticker; those of the pack that comes along are none, and everybody may have them. */
const blobOf = ({ url }) => /\/blobs\/stickers\/([^/]+)$/.exec(url)?.[1];

/** Returns the animation of a Lottie sticker, each time as an object of its own: the player changes it. */
async function drawingOf(sticker) {
  const { url } = sticker;
  if (!drawings.has(url)) {
    const blob = blobOf(sticker);
    const got = blob ? blobs.download("stickers", blob) : fetch(url);
    drawings.set(url, got.then((bytes) => bytes.text()));
    drawings.get(url).catch(() => drawings.delete(url));
  }
  return JSON.parse(await drawings.get(url));
}

/** Draws a sticker into a node of its own. */
export function drawn(sticker) {
  const node = element("span", { className: "sticker" });
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", labelOf(sticker));
  void draw(node, sticker);
  return node;
}

/** An emoji as a picture: the server keeps it without the sign that asks for one. */
const pictured = (emoji) => (emoji && !/\p{Emoji_Presentation}/u.test(emoji) ? `${emoji}\uFE0F` : emoji);

const labelOf = ({ emoji = [], keywords = [], sticker }) => [pictured(emoji[0]), keywords[0] ?? sticker].filter(Boolean).join(" ");

async function draw(node, sticker) {
  try {
    if (isLottie(sticker)) {
      await animate(node, await drawingOf(sticker));
    } else {
      const picture = element("img", { alt: "", draggable: false });
      picture.src = await urlOf("stickers", blobOf(sticker), node);
      await picture.decode();
      node.append(picture);
    }
    node.dataset.drawn = sticker.format;
  } catch (error) {
    node.dataset.drawn = "failed";
    node.textContent = pictured(sticker.emoji?.[0]) ?? "🩹";
    node.title = error.message;
  }
}

/** Returns the cover of a pack: that sticker, or else its first one. */
export async function coverOf({ pack, title, cover }) {
  const since = now();
  try {
    const { stickers } = await (cover ? chat.call("stickers.resolve", { stickers: [{ pack, sticker: cover }] })
      : chat.call("stickers.stickers", { pack, limit: 1 }));
    if (stickers.length > 0) return drawn(noteStickers(stickers, since)[0]);
  } catch {
    // The title stands for it.
  }
  return element("span", {}, title.slice(0, 1));
}

/** What a click on a sticker in a message does; `stickers/packs.js` says. */
export const clicks = { open() {} };

kinds.set("sticker", {
  show: ({ content }) => {
    const box = button("", "sticker", () => clicks.open(content.pack, content.sticker), { className: "sticker-box" });
    box.dataset.part = "sticker";
    void resolve(content).then((sticker) => {
      box.replaceChildren(sticker ? drawn(sticker) : element("span", { className: "quiet" }, "This sticker is gone."));
      box.setAttribute("aria-label", sticker ? `Sticker ${labelOf(sticker)}: show its pack` : "Sticker");
    }, () => (box.textContent = "Sticker"));
    return box;
  },
  preview: ({ content }) => {
    const name = nameOf(content);
    // Lists show it with its emoji as soon as that is known.
    if (!known.has(name)) void resolve(content).then((sticker) => sticker && changed("list"), () => {});
    return [pictured(known.get(name)?.emoji?.[0]), "Sticker"].filter(Boolean).join(" ");
  },
});

/** The favourites, while they are known. */
let favourites;
const marked = Latest.each(async () => {
  const since = now();
  return { since, stickers: (await chat.call("stickers.favourites", { limit: 200 })).stickers };
}, ({ since, stickers }) => (favourites = noteStickers(stickers, since)));

export const loadFavourites = async () => favourites ?? marked.need("favourites");

export const isFavourite = async ({ pack, sticker }) =>
  (await loadFavourites()).some((other) => other.pack === pack && other.sticker === sticker);

/** Makes a sticker a favourite, or takes it from them; returns what it is then. */
export async function toggleFavourite({ pack, sticker }) {
  try {
    const on = !(await isFavourite({ pack, sticker }));
    await chat.call("stickers.favourite", { pack, sticker, on });
    await marked.load("favourites");
    tell(on ? "It is one of your favourites now." : "It is no favourite of yours any more.");
    return on;
  } catch (error) {
    tell(error.message);
    return undefined;
  }
}

furtherActs.push(({ kind, content }) =>
  kind === "sticker" ? { text: "★ Favourite", test: "favourite", run: () => toggleFavourite(content) } : null);

/** Sends a sticker to the open conversation. */
export function sendSticker({ pack, sticker }, more = {}) {
  return chat.send(current.id, { pack, sticker, ...more }, "sticker");
}
