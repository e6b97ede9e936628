// The composer: text, drafts, editing and sending.

import { $, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, changes, current } from "./conversations.js";

/**
 * Functions (content, conversation, isEdit) → content that add members to the content of a text, such as mentions. An edit
 * starts from its previous content.
 */
export const enrich = [];

/** Handlers for dropped and pasted files: functions (files, conversation) → true if they accept the files. The first one wins. */
export const fileHandlers = [];

/** Inserts a button "before" or "after" the text. It is hidden while a message is edited. */
export function addTool(node, side = "before") {
  node.classList.add("tool");
  $("composer").insertBefore(node, side === "before" ? $("text") : $("submit"));
}

/** Inserts a node above the composer, such as a reply strip. */
export const addStrip = (node) => $("composer").before(node);

/** Inserts a text at the cursor. */
export function insert(text) {
  const { selectionStart, selectionEnd } = $("text");
  $("text").setRangeText(text, selectionStart, selectionEnd, "end");
  $("text").dispatchEvent(new Event("input"));
  $("text").focus();
}

export const isEditing = () => Boolean(current?.editing);

export function beginEdit(seq) {
  const message = current.list.get(seq);
  if (!message || message.recalled || message.sender !== chat.actor || message.kind !== "text") return;
  endEdit();
  current.editing = seq;
  $("editing").querySelector("[data-part=was]").textContent = message.content.text;
  $("editing").hidden = false;
  $("composer").classList.add("edits");
  $("submit").textContent = "✓";
  $("submit").setAttribute("aria-label", "Save");
  setText(message.content.text);
  $("text").focus();
}

/** Ends an edit and restores the draft. */
export function endEdit() {
  if (!current?.editing) return;
  current.editing = null;
  $("editing").hidden = true;
  $("composer").classList.remove("edits");
  $("submit").textContent = "➤";
  $("submit").setAttribute("aria-label", "Send");
  setText(current.draft);
}

function setText(text) {
  $("text").value = text;
  grow();
}

function grow() {
  const { style } = $("text");
  style.height = "auto";
  // A hidden textarea has no height.
  if ($("text").scrollHeight > 0) style.height = `${$("text").scrollHeight}px`;
}

changes.addEventListener("close", endEdit);
changes.addEventListener("open", () => {
  if (!current) return;
  setText(current.draft);
  $("text").focus();
});
changes.addEventListener("shown", () => {
  if (current.editing && current.list.get(current.editing)?.recalled) endEdit();
});

$("editing")
  .querySelector("button")
  .addEventListener("click", () => {
    endEdit();
    $("text").focus();
  });

$("composer").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const text = $("text").value.trim();
  if (!text || !current) return;
  const { editing } = current;
  const enriched = (content) => enrich.reduce((done, more) => more(done, current, Boolean(editing)), content);
  if (editing) {
    const { content } = current.list.get(editing);
    endEdit();
    if (text !== content.text) chat.edit(current.id, editing, enriched({ ...content, text }));
    return changed("messages");
  }
  chat.send(current.id, enriched({ text }));
  current.draft = "";
  setText("");
  changed("messages", { toEnd: true });
});

$("text").addEventListener("keydown", (pressed) => {
  // The completion of mentions has used the key.
  if (pressed.defaultPrevented) return;
  if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.isComposing) {
    pressed.preventDefault();
    $("composer").requestSubmit();
  } else if (pressed.key === "Escape") {
    endEdit();
  } else if (pressed.key === "ArrowUp" && $("text").value === "" && current) {
    const own = ({ sender, kind, recalled }) => sender === chat.actor && kind === "text" && !recalled;
    const last = current.list.messages.findLast(own);
    if (!last) return;
    pressed.preventDefault();
    beginEdit(last.seq);
  }
});
$("text").addEventListener("input", () => {
  if (current && !current.editing) current.draft = $("text").value;
  if (current && $("text").value.trim()) chat.typing(current.id);
  grow();
});

/* Files by drag and drop or from the clipboard. */

function handleFiles(files) {
  if (files.length === 0 || !current) return false;
  if (fileHandlers.some((one) => one([...files], current))) return true;
  showNotice("Files can't be sent here.");
  return true;
}

$("text").addEventListener("paste", (pasted) => {
  if (handleFiles(pasted.clipboardData?.files ?? [])) pasted.preventDefault();
});
$("conversation").addEventListener("dragover", (dragged) => {
  if (!current || !dragged.dataTransfer?.types.includes("Files")) return;
  dragged.preventDefault();
  $("conversation").classList.add("dropping");
});
$("conversation").addEventListener("dragleave", ({ relatedTarget }) => {
  if (!$("conversation").contains(relatedTarget)) $("conversation").classList.remove("dropping");
});
$("conversation").addEventListener("drop", (dropped) => {
  $("conversation").classList.remove("dropping");
  if (handleFiles(dropped.dataTransfer?.files ?? [])) dropped.preventDefault();
});
