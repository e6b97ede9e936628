// Replies: a message with `reply_to` shows a quote, and a click on the quote scrolls to the original.

import { replyTo } from "../client/courtyard.js";
import { Latest } from "../client/latest.js";
import { $, button, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { nameOf } from "../people/people.js";
import { changes, current } from "./conversations.js";
import { above, previewOf } from "./content.js";
import { addStrip, enrich } from "./composer.js";
import { furtherActs } from "./message-menu.js";
import { redraw, show } from "./message-list.js";

/** Originals outside of the loaded messages, by conversation and number; null for events that are no messages. */
const fetched = new Map();

const strip = element("div", { className: "replying", hidden: true });
strip.dataset.test = "replying";
addStrip(strip);

furtherActs.unshift(({ seq }, { conversation }) => ({
  text: "Reply",
  test: "reply",
  run: () => beginReply(conversation, seq),
}));

function beginReply(conversation, seq) {
  conversation.replying = seq;
  showStrip();
  $("text").focus();
}

function endReply(conversation) {
  conversation.replying = undefined;
  showStrip();
}

/** Returns the members that make the next message a reply, and ends the reply. */
export function replying(conversation) {
  const { replying: target } = conversation;
  if (!target) return {};
  endReply(conversation);
  return { reply_to: target };
}

// An edit keeps its own `reply_to`.
enrich.push((content, conversation, isEdit) => (isEdit ? content : { ...content, ...replying(conversation) }));

function showStrip() {
  const original = current?.replying ? current.list.get(current.replying) : undefined;
  strip.hidden = !original || original.recalled;
  if (strip.hidden) return strip.replaceChildren();
  const cancel = button("✕", "cancel-reply", () => endReply(current), { title: "Cancel (Esc)" });
  cancel.setAttribute("aria-label", "Cancel reply");
  strip.replaceChildren(...quoted(original), cancel);
}
changes.addEventListener("open", showStrip);
changes.addEventListener("shown", () => {
  // The original was deleted meanwhile.
  if (current.replying && current.list.get(current.replying)?.recalled) endReply(current);
});
$("text").addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && current?.replying && !current.editing) endReply(current);
});

const quoted = (original) => [
  element("strong", {}, original.sender === chat.actor ? "You" : nameOf(original.sender)),
  element("span", {}, previewOf(original)),
];

above.push((message, { conversation }) => {
  const target = replyTo(message);
  if (!target || message.recalled) return null;
  const original = conversation.list.get(target) ?? fetched.get(`${conversation.id} ${target}`);
  if (original === undefined) void fetch(conversation, target, message.seq);
  // Without an original, the reply has no quote.
  if (!original) return null;
  const go = async () => {
    await show(target);
    if (!document.querySelector(`#messages .note[data-seq="${target}"]`)) showNotice("That message no longer exists.");
  };
  const node = button("", "quote", go, { className: "quote" });
  node.append(...quoted(original));
  node.dataset.part = "quote";
  node.setAttribute("aria-label", `Reply to ${node.textContent}`);
  return node;
});

const originals = Latest.each(
  async (key) => {
    const [id, target] = key.split(" ");
    const {
      events: [event],
    } = await chat.history(id, { after: Number(target) - 1, limit: 1 });
    return event?.seq === Number(target) && event.type === "message" ? event : null;
  },
  (event, key) => fetched.set(key, event),
);

async function fetch(conversation, target, seq) {
  try {
    await originals.need(`${conversation.id} ${target}`);
  } catch {
    // The next draw requests it again.
    return;
  }
  if (seq !== undefined && conversation === current) redraw(seq);
}

// A quote shows the current state of its message.
chat.addEventListener("event", ({ detail: { conversation, type, target } }) => {
  if (!["edit", "recall"].includes(type)) return;
  fetched.delete(`${conversation} ${target}`);
  originals.overtake(`${conversation} ${target}`);
  if (current?.id !== conversation) return;
  for (const message of current.list.messages) if (replyTo(message) === target) redraw(message.seq);
});
