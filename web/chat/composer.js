// Writing: the text, drafts, editing, sending.

import { $, tell } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, changes, current } from "./conversations.js";

/**
 * Functions (content, conversation, isEdit) → content: what goes along with a text, such as whom it mentions. An edit has what
 * went along before.
 */
export const enrich = [];

/** Functions (files, conversation): they take what was dropped on the conversation or pasted. The first one that returns true. */
export const takeFiles = [];

/** Puts a button beside the text: "before" or "after" it. It is out of the way while a message is edited. */
export function addTool(node, side = "before") {
  node.classList.add("tool");
  $("write").insertBefore(node, side === "before" ? $("text") : $("submit"));
}

/** Puts something above the text, such as what will be sent along. */
export const addStrip = (node) => $("write").before(node);

/** Puts a text where the cursor is. */
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
  $("write").classList.add("edits");
  $("submit").textContent = "✓";
  $("submit").setAttribute("aria-label", "Save");
  setText(message.content.text);
  $("text").focus();
}

/** Ends an edit, and puts back what was being written before it. */
export function endEdit() {
  if (!current?.editing) return;
  current.editing = null;
  $("editing").hidden = true;
  $("write").classList.remove("edits");
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
  // Nothing has a height that is not shown.
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

$("editing").querySelector("button").addEventListener("click", () => {
  endEdit();
  $("text").focus();
});

$("write").addEventListener("submit", (submitted) => {
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
  // Whoever completes words in the text comes first.
  if (pressed.defaultPrevented) return;
  if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.isComposing) {
    pressed.preventDefault();
    $("write").requestSubmit();
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

/* Files that come by drag and drop or from the clipboard. */

function take(files) {
  if (files.length === 0 || !current) return false;
  if (takeFiles.some((one) => one([...files], current))) return true;
  tell("Files can't be sent here.");
  return true;
}

$("text").addEventListener("paste", (pasted) => {
  if (take(pasted.clipboardData?.files ?? [])) pasted.preventDefault();
});
$("room").addEventListener("dragover", (dragged) => {
  if (!current || !dragged.dataTransfer?.types.includes("Files")) return;
  dragged.preventDefault();
  $("room").classList.add("dropping");
});
$("room").addEventListener("dragleave", ({ relatedTarget }) => {
  if (!$("room").contains(relatedTarget)) $("room").classList.remove("dropping");
});
$("room").addEventListener("drop", (dropped) => {
  $("room").classList.remove("dropping");
  if (take(dropped.dataTransfer?.files ?? [])) dropped.preventDefault();
});
