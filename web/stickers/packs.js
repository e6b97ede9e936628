// Pages of the panel for sticker packs: kept packs, all packs, a single pack, and editing own packs.

import { Latest } from "../client/latest.js";
import { attempt, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { openPanel, redrawPanel, startPanel } from "../shell/panel.js";
import {
  action,
  buttons,
  choice,
  entry,
  field,
  form,
  heading,
  input,
  list,
  quiet,
  dangerButton,
} from "../shell/panel-widgets.js";
import { clicks, coverOf, drawn, noteStickers, now } from "./stickers.js";
import { uploadSticker } from "./sticker-upload.js";

const VISIBILITY = [
  ["draft", "Draft: nobody can send it"],
  ["private", "Private: only you can send it"],
  ["public", "Public: everybody can find and send it"],
];

const PACKS_PAGE = "packs-page";
const packsPage = { title: "Stickers", test: PACKS_PAGE, build: buildPacks };

export const openPacks = () => startPanel(packsPage);
clicks.open = (pack) => startPanel(packPage(pack));

async function buildPacks(body) {
  const [kept, own] = await Promise.all([
    chat.call("stickers.kept_packs"),
    chat.call("stickers.packs", { own: true, limit: 100 }),
  ]);
  const found = element("div");
  const query = input({ type: "search", placeholder: "Search packs" });
  const packs = Latest.each(
    async () => {
      const { packs } = await chat.call("stickers.packs", { query: query.value.trim() || undefined, limit: 50 });
      return packList(packs, "found-packs", "No results.");
    },
    (node) => found.replaceChildren(node),
  );
  const find = () => attempt(() => packs.load("packs"));
  let typing;
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, 200);
  });
  body.append(
    heading("In your picker"),
    await packList(kept.packs, "kept-packs", "Packs that you add appear here."),
    heading("Your packs"),
    await packList(own.packs, "own-packs", "No packs yet."),
    buttons(action("New pack", "new-pack", () => openPanel(newPackPage))),
    heading("All packs"),
    field("Search packs", query, "find-packs"),
    found,
  );
  await find();
}

async function packList(packs, test, none) {
  return list(await Promise.all(packs.map(packRow)), test, none);
}

async function packRow(pack) {
  const note = [
    pack.author,
    `${pack.count} ${pack.count === 1 ? "sticker" : "stickers"}`,
    pack.visibility === "public" ? null : pack.visibility,
  ];
  const row = entry(pack.title, `open-pack-${pack.title}`, () => openPanel(packPage(pack.pack)), {
    note: note.filter(Boolean).join(" · "),
  });
  row.prepend(element("span", { className: "cover" }, await coverOf(pack)));
  return row;
}

const newPackPage = {
  title: "New pack",
  test: "new-pack-page",
  build(body) {
    const title = input({ required: true, maxLength: 128 });
    const author = input({ required: true, maxLength: 128 });
    const licence = input({ required: true, maxLength: 128, value: "All rights reserved" });
    body.append(
      form(
        "create-pack",
        "Create",
        [
          field("Title", title, "pack-title"),
          field("Author", author, "pack-author"),
          field("Licence", licence, "pack-licence", "What others may do with it, such as CC0-1.0 or CC-BY-4.0."),
        ],
        async () => {
          const { pack } = await chat.call("stickers.create_pack", {
            title: title.value,
            author: author.value,
            licence: licence.value,
          });
          startPanel(packsPage);
          openPanel(packPage(pack));
        },
      ),
    );
  },
};

const packPage = (id) => ({ title: "Pack", test: "pack-page", build: (body) => buildPack(body, id) });

/** Reads all stickers of a pack. */
async function allOf(pack) {
  const all = [];
  for (let after; ;) {
    const since = now();
    const { stickers, next } = await chat.call("stickers.stickers", { pack, after, limit: 200 });
    all.push(...noteStickers(stickers, since));
    if (next === undefined || next === null) return all;
    after = next;
  }
}

async function buildPack(body, id) {
  const [pack, stickers, { packs: kept }] = await Promise.all([
    chat.call("stickers.pack", { pack: id }),
    allOf(id),
    chat.call("stickers.kept_packs"),
  ]);
  const own = pack.owner === chat.actor;
  const isKept = kept.some((other) => other.pack === id);
  body.append(
    element(
      "div",
      { className: "pack-head" },
      element("span", { className: "cover" }, await coverOf(pack)),
      element(
        "div",
        {},
        element("strong", {}, pack.title),
        element("span", { className: "quiet" }, `by ${pack.author}`),
        element("span", { className: "quiet" }, pack.licence),
      ),
    ),
  );
  body.append(
    buttons(
      action(
        isKept ? "Remove from the picker" : "Add to the picker",
        "keep-pack",
        async () => {
          await chat.call("stickers.keep_pack", { pack: id, on: !isKept });
          redrawPanel("pack-page");
        },
        { className: isKept ? "" : "main" },
      ),
    ),
  );
  const grid = element("div", { className: "sticker-grid" }, ...stickers.map((sticker) => cell(sticker, own)));
  grid.dataset.test = "pack-grid";
  body.append(grid);
  if (stickers.length === 0) body.append(quiet("This pack has no stickers yet.", "pack-empty"));
  if (own) body.append(...ownPart(pack));
}

function cell(sticker, own) {
  const title = sticker.keywords.join(", ");
  const node = own
    ? action("", `in-pack-${sticker.sticker}`, () => openPanel(stickerPage(sticker)), { title })
    : element("span", { title });
  node.append(drawn(sticker));
  return node;
}

const uploads = new Map();

/** Returns the list of uploads into a pack. It survives a redraw of the page. */
function uploadsOf(pack) {
  if (!uploads.has(pack)) uploads.set(pack, element("ul", { className: "uploads" }));
  return uploads.get(pack);
}

function ownPart(pack) {
  const files = element("input", {
    type: "file",
    multiple: true,
    hidden: true,
    accept: ".png,.apng,.webp,.json,.lottie,image/png,image/webp,application/json",
  });
  files.dataset.test = "sticker-files";
  const state = uploadsOf(pack.pack);
  files.addEventListener("change", async () => {
    const chosen = [...files.files];
    files.value = "";
    for (const line of [...state.children]) if (line.dataset.state === "refused") line.remove();
    const done = await Promise.all(chosen.map((file) => uploadSticker(pack.pack, file, state)));
    if (done.some(Boolean)) redrawPanel("pack-page");
  });
  const visibility = choice(VISIBILITY, pack.visibility);
  return [
    heading("Your pack"),
    files,
    state,
    buttons(action("Add stickers", "add-stickers", () => files.click(), { className: "main" })),
    quiet("PNG, APNG, WebP or Lottie, up to 512 pixels in width and height."),
    form(
      "publish-pack",
      "Save",
      [field("Visibility", visibility, "visibility")],
      async () => {
        await chat.call("stickers.publish", { pack: pack.pack, visibility: visibility.value });
        redrawPanel("pack-page");
      },
      "Saved.",
    ),
    buttons(
      dangerButton("Delete pack", "Delete this pack for everyone?", "delete-pack", async () => {
        await chat.call("stickers.delete_pack", { pack: pack.pack });
        startPanel(packsPage);
      }),
    ),
  ];
}

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

const stickerPage = (sticker) => ({
  title: "Sticker",
  test: "sticker-page",
  build(body) {
    const emoji = input({ value: sticker.emoji.join(" "), maxLength: 60 });
    const keywords = input({ value: sticker.keywords.join(" "), maxLength: 320 });
    const name = { pack: sticker.pack, sticker: sticker.sticker };
    body.append(
      element("div", { className: "pack-head" }, element("span", { className: "cover" }, drawn(sticker))),
      form(
        "edit-sticker",
        "Save",
        [
          field("Emoji", emoji, "sticker-emoji", "Up to 5. The search finds the sticker by them."),
          field("Words", keywords, "sticker-words", "Up to 10."),
        ],
        async () => {
          const since = now();
          const changes = { ...name, emoji: words(emoji.value), keywords: words(keywords.value) };
          noteStickers([await chat.call("stickers.update_sticker", changes)], since);
          startPanel(packPage(sticker.pack));
        },
      ),
      buttons(
        action("Set as cover", "cover", async () => {
          await chat.call("stickers.update_pack", { pack: sticker.pack, cover: sticker.sticker });
          startPanel(packPage(sticker.pack));
        }),
        dangerButton("Delete sticker", "Delete this sticker?", "remove-sticker", async () => {
          await chat.call("stickers.remove_sticker", name);
          showNotice("Sticker deleted.");
          startPanel(packPage(sticker.pack));
        }),
      ),
    );
  },
});
