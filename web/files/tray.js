// Choosing files by button, drag and drop or clipboard, and the tray that holds them until they are sent.

import { $, button, element, showNotice } from "../shell/dom.js";
import { changes, current } from "../chat/conversations.js";
import { addStrip, addTool, fileHandlers } from "../chat/composer.js";
import { kindOf, sendFiles } from "./uploading.js";
import { ICONS, sizeText } from "./attachment.js";
import { replying } from "../chat/replies.js";
import { showIfOffered } from "../shell/features.js";

/** Files in one tray, at most. */
const MOST = 20;

/** Files to be sent, by conversation. */
const trays = new Map();
const tray = element("div", { className: "tray", hidden: true });
tray.dataset.test = "tray";

const chosen = element("input", { type: "file", multiple: true, hidden: true });
chosen.dataset.test = "choose-files";
chosen.addEventListener("change", () => {
  add([...chosen.files], current);
  chosen.value = "";
});

function paperclip() {
  const node = button("", "attach", () => chosen.click(), { title: "Attach files" });
  node.innerHTML =
    '<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="1.8" ' +
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M20 11.5l-8 8a5 5 0 0 1-7-7l8.4-8.4a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.6 1.6 0 0 1-2.3-2.3l7.6-7.6"/></svg>';
  node.setAttribute("aria-label", "Attach files");
  return node;
}

const tool = paperclip();
showIfOffered("files.usage", tool);
addTool(tool);
addStrip(tray);
document.body.append(chosen);

fileHandlers.push((files, conversation) => {
  if (tool.hidden) return false;
  add(files, conversation);
  return true;
});

function add(files, conversation) {
  if (!conversation || files.length === 0) return;
  const items = trays.get(conversation) ?? [];
  trays.set(conversation, items);
  items.push(...files.slice(0, MOST - items.length).map((file) => ({ file, url: URL.createObjectURL(file) })));
  if (files.length > items.length) showNotice(`At most ${MOST} files can be sent at a time.`);
  show();
  $("text").focus();
}

function drop(conversation, item) {
  const items = trays.get(conversation).filter((other) => other !== item);
  URL.revokeObjectURL(item.url);
  if (items.length > 0) trays.set(conversation, items);
  else trays.delete(conversation);
  show();
}

const placeholder = $("text").placeholder;

function show() {
  const items = trays.get(current) ?? [];
  tray.hidden = items.length === 0;
  tray.replaceChildren(...items.map((item) => thumb(item, current)));
  $("text").placeholder = items.length > 0 ? "Add a caption" : placeholder;
  $("composer").classList.toggle("carries", items.length > 0);
}
changes.addEventListener("open", show);

function thumb(item, conversation) {
  const { file, url } = item;
  const kind = kindOf(file);
  const picture =
    kind === "image" ? element("img", { src: url, alt: "" }) : element("span", { className: "icon" }, ICONS[kind]);
  const remove = button("✕", "remove-file", () => drop(conversation, item), { title: "Remove" });
  remove.setAttribute("aria-label", `Remove ${file.name}`);
  const node = element(
    "div",
    { className: "item", title: file.name },
    picture,
    element("span", { className: "name" }, file.name),
    element("span", { className: "quiet" }, sizeText(file.size)),
    remove,
  );
  node.dataset.test = "waiting-file";
  return node;
}

// Runs before the composer: with files in the tray, the text becomes their caption.
$("composer").addEventListener(
  "submit",
  (submitted) => {
    const items = trays.get(current);
    if (!items || current.editing) return;
    submitted.preventDefault();
    submitted.stopImmediatePropagation();
    const conversation = current;
    trays.delete(conversation);
    const caption = $("text").value.trim();
    for (const { url } of items) URL.revokeObjectURL(url);
    sendFiles(
      conversation,
      items.map(({ file }) => file),
      { ...(caption ? { caption } : {}), ...replying(conversation) },
    );
    $("text").value = "";
    $("text").dispatchEvent(new Event("input"));
    show();
  },
  { capture: true },
);
$("text").addEventListener("keydown", (pressed) => {
  if (pressed.key !== "Escape" || !trays.has(current) || current.editing) return;
  for (const item of trays.get(current)) drop(current, item);
});
