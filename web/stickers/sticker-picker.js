// The sticker picker: recent stickers, favourites, kept packs, and search by word or emoji.

import { Latest } from "../client/latest.js";
import { $, button, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, changes, current } from "../chat/conversations.js";
import { addStrip, addTool } from "../chat/composer.js";
import {
  coverOf,
  drawn,
  isFavourite,
  loadFavourites,
  noteStickers,
  now,
  sendSticker,
  toggleFavourite,
} from "./stickers.js";
import { replying } from "../chat/replies.js";
import { openPacks } from "./packs.js";
import { showIfOffered } from "../shell/features.js";

const picker = element("div", { className: "sticker-picker", hidden: true });
picker.dataset.test = "sticker-picker";
picker.setAttribute("role", "dialog");
picker.setAttribute("aria-label", "Stickers");
const search = element("input", {
  type: "search",
  placeholder: "Search by word or emoji",
  ariaLabel: "Search stickers",
});
search.dataset.test = "sticker-search";
const tabs = element("div", { className: "tabs" });
tabs.setAttribute("role", "tablist");
const grid = element("div", { className: "sticker-grid" });
grid.dataset.test = "sticker-grid";
const more = button("Show more", "more-stickers", () => turnPage(), { hidden: true });
picker.append(
  element(
    "header",
    {},
    search,
    button("✕", "close-picker", () => close(), { title: "Close" }),
  ),
  tabs,
  element("div", { className: "stage" }, grid, more),
);
addStrip(picker);

const tool = button("", "stickers", () => (picker.hidden ? open() : close()), { title: "Stickers" });
tool.innerHTML =
  '<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="1.8" ' +
  'stroke-linejoin="round" stroke-linecap="round" aria-hidden="true"><path d="M20 13V8a4 4 0 0 0-4-4H8a4 4 0 0 0-4 4v8a4 4 0 0 0 4 4h5z"/>' +
  '<path d="M20 13h-3a4 4 0 0 0-4 4v3M8.5 9.5v.5M15 9.5v.5M8.5 13.5c.8.9 2 1.4 3 1.4"/></svg>';
tool.setAttribute("aria-label", "Stickers");
tool.setAttribute("aria-expanded", "false");
showIfOffered("stickers.usage", tool);
addTool(tool);

/** The source of the grid: `load(after)` → {stickers, next}, and the cursor of its next page. */
let source = { load: null, next: undefined };
let turn = 0;

const RECENT = {
  id: "recent",
  label: "🕘",
  title: "Recent",
  none: "Stickers that you send appear here.",
  load: () => chat.call("stickers.recent"),
};
const FAVOURITES = {
  id: "favourites",
  label: "★",
  title: "Favourites",
  none: "Hold or right-click a sticker to add it to your favourites.",
  load: async () => ({ stickers: await loadFavourites() }),
};

const packTab = (pack) => ({
  id: pack.pack,
  pack,
  title: pack.title,
  none: "This pack has no stickers.",
  load: (after) => chat.call("stickers.stickers", { pack: pack.pack, after, limit: 60 }),
});

async function open() {
  picker.hidden = false;
  tool.setAttribute("aria-expanded", "true");
  try {
    await opened.load("tabs");
  } catch (error) {
    close();
    showNotice(error.code === "unknown_method" ? "This server has no stickers." : error.message);
  }
}

export function close() {
  if (picker.hidden) return;
  picker.hidden = true;
  tool.setAttribute("aria-expanded", "false");
  turn += 1;
  opened.forget("tabs");
  grid.replaceChildren();
}

/** Returns the kept packs, or the built-in pack if none is kept. */
async function packsAtHand() {
  const { packs } = await chat.call("stickers.kept_packs");
  if (packs.length > 0) return packs;
  return (await chat.call("stickers.packs", { limit: 5 })).packs;
}

/** The tabs of the picker and the recent stickers. */
const opened = Latest.each(
  async () => {
    const since = now();
    const [packs, { stickers: recent }] = await Promise.all([packsAtHand(), chat.call("stickers.recent")]);
    noteStickers(recent, since);
    const all = [RECENT, FAVOURITES, ...packs.map(packTab)];
    return { all, recent, nodes: await Promise.all(all.map(tabOf)) };
  },
  ({ all, recent, nodes }) => {
    const manage = button(
      "+",
      "manage-packs",
      () => {
        close();
        openPacks();
      },
      { title: "Manage packs" },
    );
    manage.setAttribute("aria-label", "Manage packs");
    tabs.replaceChildren(...nodes, manage);
    search.value = "";
    return choose(recent.length > 0 ? RECENT : (all[2] ?? FAVOURITES));
  },
);

async function tabOf(tab) {
  const node = button(
    "",
    `pack-${tab.id}`,
    () => {
      search.value = "";
      void choose(tab);
    },
    { title: tab.title },
  );
  node.setAttribute("role", "tab");
  node.setAttribute("aria-label", tab.title);
  if (tab.label) node.textContent = tab.label;
  else node.append(await coverOf(tab.pack));
  return node;
}

async function choose(tab) {
  for (const node of tabs.children) node.setAttribute("aria-selected", String(node.dataset.test === `pack-${tab.id}`));
  source = { ...tab, next: undefined };
  grid.replaceChildren();
  await turnPage(true);
}

async function turnPage(fresh = false) {
  const mine = ++turn;
  const since = now();
  try {
    const { stickers, next } = await source.load(fresh ? undefined : source.next);
    if (mine !== turn) return;
    noteStickers(stickers, since);
    grid.append(...stickers.map(cell));
    source.next = next ?? undefined;
    more.hidden = source.next === undefined;
    if (fresh && stickers.length === 0 && more.hidden)
      grid.replaceChildren(element("p", { className: "quiet" }, source.none));
  } catch (error) {
    if (mine === turn) grid.replaceChildren(element("p", { className: "quiet" }, error.message));
  }
}

/** Milliseconds after which a touch on a sticker toggles the favourite. */
const HELD = 500;

function cell(sticker) {
  let holding,
    held = false;
  const node = button(
    "",
    `sticker-${sticker.sticker}`,
    () => {
      if (held) return void (held = false);
      sendSticker(sticker, replying(current));
      changed("messages", { toEnd: true });
      close();
      if (matchMedia("(hover: hover)").matches) $("text").focus();
    },
    { title: sticker.keywords.join(", ") },
  );
  const picture = drawn(sticker);
  node.append(picture);
  node.setAttribute("aria-label", picture.getAttribute("aria-label"));
  const toggle = async () => {
    const on = await toggleFavourite(sticker);
    if (on !== undefined) node.classList.toggle("favourite", on);
  };
  node.addEventListener("contextmenu", (clicked) => {
    clicked.preventDefault();
    if (!held) void toggle();
  });
  node.addEventListener(
    "touchstart",
    () => {
      held = false;
      holding = setTimeout(() => {
        held = true;
        void toggle();
      }, HELD);
    },
    { passive: true },
  );
  for (const type of ["touchend", "touchmove", "touchcancel"]) {
    node.addEventListener(type, () => clearTimeout(holding), { passive: true });
  }
  void isFavourite(sticker).then(
    (on) => node.classList.toggle("favourite", on),
    () => {},
  );
  return node;
}

let typing;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const query = search.value.trim();
    if (query === "") return void tabs.querySelector("[role=tab]:nth-child(3), [role=tab]")?.click();
    void choose({
      id: "",
      none: "No results.",
      load: (after) => chat.call("stickers.search", { query, after, limit: 60 }),
    });
  }, 200);
});
picker.addEventListener("keydown", (pressed) => {
  if (pressed.key === "Escape") {
    close();
    return $("text").focus();
  }
  const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed.key];
  const cells = [...grid.querySelectorAll("button")];
  const at = cells.indexOf(document.activeElement);
  if (!step || at < 0) return;
  pressed.preventDefault();
  cells.at((at + step) % cells.length).focus();
});
changes.addEventListener("open", close);
$("text").addEventListener("input", () => $("text").value && close());
