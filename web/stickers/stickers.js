// Stickers: their data, their drawing, and messages of the kind `sticker`.

import { Latest, now } from "../client/latest.js";
import { button, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { kinds } from "../chat/content.js";
import { changed, current } from "../chat/conversations.js";
import { furtherActs } from "../chat/message-menu.js";
import { urlOf } from "../shell/blob-urls.js";
import { blobs } from "../shell/pictures.js";
import { animate } from "./animation.js";

const nameOf = ({ pack, sticker }) => `${pack}/${sticker}`;

/** Stickers by name; null for deleted ones. */
const known = new Map();
/** Pack and id of each sticker, by name. */
const places = new Map();
const resolved = new Latest(
  async (names) => {
    const wanted = names.map((name) => places.get(name));
    const { stickers } = await chat.call("stickers.resolve", { stickers: wanted });
    const found = new Map(stickers.map((sticker) => [nameOf(sticker), sticker]));
    return names.map((name) => found.get(name) ?? null);
  },
  (sticker, name) => {
    known.set(name, sticker);
    return sticker;
  },
  100,
);

export { now };

/** Stores stickers from an answer of the plugin whose request began at the moment `since`, and returns them. */
export function noteStickers(stickers, since) {
  for (const sticker of stickers) {
    places.set(nameOf(sticker), { pack: sticker.pack, sticker: sticker.sticker });
    resolved.offer(nameOf(sticker), sticker, since);
  }
  return stickers;
}

/** Returns a sticker, or null if it was deleted. Calls of one turn share a request. */
async function resolve({ pack, sticker }) {
  const name = nameOf({ pack, sticker });
  if (known.has(name)) return known.get(name);
  places.set(name, { pack, sticker });
  return resolved.need(name);
}

const isLottie = ({ format }) => format === "lottie";
const drawings = new Map();

/** Returns the blob id of a sticker, or undefined for stickers of the built-in pack, which need no token. */
const blobOf = ({ url }) => /\/blobs\/stickers\/([^/]+)$/.exec(url)?.[1];

/** Returns the animation of a Lottie sticker as a new object, because the player changes it. */
async function drawingOf(sticker) {
  const { url } = sticker;
  if (!drawings.has(url)) {
    const blob = blobOf(sticker);
    const got = blob ? blobs.download("stickers", blob) : fetch(url);
    drawings.set(
      url,
      got.then((bytes) => bytes.text()),
    );
    drawings.get(url).catch(() => drawings.delete(url));
  }
  return JSON.parse(await drawings.get(url));
}

/** Returns a new node with a sticker in it. */
export function drawn(sticker) {
  const node = element("span", { className: "sticker" });
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", labelOf(sticker));
  void draw(node, sticker);
  return node;
}

/** Returns an emoji with the variation selector for its coloured form, which the server removes. */
const pictured = (emoji) => (emoji && !/\p{Emoji_Presentation}/u.test(emoji) ? `${emoji}\uFE0F` : emoji);

const labelOf = ({ emoji = [], keywords = [], sticker }) =>
  [pictured(emoji[0]), keywords[0] ?? sticker].filter(Boolean).join(" ");

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

/** Returns a node with the cover of a pack, or with its first sticker if it has no cover. */
export async function coverOf({ pack, title, cover }) {
  const since = now();
  try {
    const { stickers } = await (cover
      ? chat.call("stickers.resolve", { stickers: [{ pack, sticker: cover }] })
      : chat.call("stickers.stickers", { pack, limit: 1 }));
    if (stickers.length > 0) return drawn(noteStickers(stickers, since)[0]);
  } catch {
    // The first letter of the title replaces it.
  }
  return element("span", {}, title.slice(0, 1));
}

/**
 * The action for a click on a sticker in a message; `stickers/packs.js` sets it.
 *
 * @type {{open: (pack: string, sticker?: string) => void}}
 */
export const clicks = { open() {} };

kinds.set("sticker", {
  show: ({ content }) => {
    const box = button("", "sticker", () => clicks.open(content.pack, content.sticker), { className: "sticker-box" });
    box.dataset.part = "sticker";
    void resolve(content).then(
      (sticker) => {
        box.replaceChildren(
          sticker ? drawn(sticker) : element("span", { className: "quiet" }, "This sticker was deleted."),
        );
        box.setAttribute("aria-label", sticker ? `Sticker ${labelOf(sticker)}: show its pack` : "Sticker");
      },
      () => (box.textContent = "Sticker"),
    );
    return box;
  },
  preview: ({ content }) => {
    const name = nameOf(content);
    // Redraws the list once the emoji is loaded.
    if (!known.has(name))
      void resolve(content).then(
        (sticker) => sticker && changed("list"),
        () => {},
      );
    return [pictured(known.get(name)?.emoji?.[0]), "Sticker"].filter(Boolean).join(" ");
  },
});

/** The favourites, once they are loaded. */
let favourites;
const marked = Latest.each(
  async () => {
    const since = now();
    return { since, stickers: (await chat.call("stickers.favourites", { limit: 200 })).stickers };
  },
  ({ since, stickers }) => (favourites = noteStickers(stickers, since)),
);

export const loadFavourites = async () => favourites ?? marked.need("favourites");

export const isFavourite = async ({ pack, sticker }) =>
  (await loadFavourites()).some((other) => other.pack === pack && other.sticker === sticker);

/** Adds a sticker to the favourites or removes it. Returns true if it is a favourite now, undefined after an error. */
export async function toggleFavourite({ pack, sticker }) {
  try {
    const on = !(await isFavourite({ pack, sticker }));
    await chat.call("stickers.favourite", { pack, sticker, on });
    await marked.load("favourites");
    showNotice(on ? "Added to favourites." : "Removed from favourites.");
    return on;
  } catch (error) {
    showNotice(error.message);
    return undefined;
  }
}

furtherActs.push(({ kind, content }) =>
  kind === "sticker" ? { text: "★ Favourite", test: "favourite", run: () => toggleFavourite(content) } : null,
);

/** Sends a sticker to the open conversation. */
export function sendSticker({ pack, sticker }, more = {}) {
  return chat.send(current.id, { pack, sticker, ...more }, "sticker");
}
