// Replies: a message that names an earlier one (`reply_to`) shows a line of it, and a click on that goes there.

import { replyTo } from "../client/courtyard.js";
import { Latest } from "../client/latest.js";
import { $, button, element, tell } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { nameOf } from "../people/people.js";
import { changes, current } from "./conversations.js";
import { above, previewOf } from "./content.js";
import { addStrip, enrich } from "./composer.js";
import { furtherActs } from "./message-menu.js";
import { redraw, show } from "./message-list.js";

/** Messages that are replied to and are not among those that the page has, by conversation and number. */
const fetched = new Map();

const strip = element("div", { className: "replying", hidden: true });
strip.dataset.test = "replying";
addStrip(strip);

furtherActs.unshift(({ seq }, { conversation }) => ({ text: "Reply", test: "reply", run: () => begin(conversation, seq) }));

function begin(conversation, seq) {
  conversation.replying = seq;
  showStrip();
  $("text").focus();
}

function end(conversation) {
  conversation.replying = undefined;
  showStrip();
}

/** Returns what makes the next message of a conversation the reply that is being written, and ends that. */
export function replying(conversation) {
  const { replying: target } = conversation;
  if (!target) return {};
  end(conversation);
  return { reply_to: target };
}

// An edit has its own `reply_to` already.
enrich.push((content, conversation, isEdit) => (isEdit ? content : { ...content, ...replying(conversation) }));

function showStrip() {
  const original = current?.replying ? current.list.get(current.replying) : undefined;
  strip.hidden = !original || original.recalled;
  if (strip.hidden) return strip.replaceChildren();
  const cancel = button("✕", "cancel-reply", () => end(current), { title: "Cancel (Esc)" });
  cancel.setAttribute("aria-label", "Don't reply to it");
  strip.replaceChildren(...quoted(original), cancel);
}
changes.addEventListener("open", showStrip);
changes.addEventListener("shown", () => {
  // What is recalled meanwhile is no longer there to be replied to.
  if (current.replying && current.list.get(current.replying)?.recalled) end(current);
});
$("text").addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && current?.replying && !current.editing) end(current);
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
  // What is no message is not quoted; the reply stands for itself.
  if (!original) return null;
  const go = async () => {
    await show(target);
    if (!document.querySelector(`#messages .note[data-seq="${target}"]`)) tell("That message is not there any more.");
  };
  const node = button("", "quote", go, { className: "quote" });
  node.append(...quoted(original));
  node.dataset.part = "quote";
  node.setAttribute("aria-label", `Reply to ${node.textContent}`);
  return node;
});

const originals = Latest.each(async (key) => {
  const [id, target] = key.split(" ");
  const { events: [event] } = await chat.history(id, { after: Number(target) - 1, limit: 1 });
  return event?.seq === Number(target) && event.type === "message" ? event : null;
}, (event, key) => fetched.set(key, event));

async function fetch(conversation, target, seq) {
  try {
    await originals.need(`${conversation.id} ${target}`);
  } catch {
    // The next time that it is drawn it is asked for again.
    return;
  }
  if (seq !== undefined && conversation === current) redraw(seq);
}

// A quote shows its message as it is now.
chat.addEventListener("event", ({ detail: { conversation, type, target } }) => {
  if (!["edit", "recall"].includes(type)) return;
  fetched.delete(`${conversation} ${target}`);
  originals.overtake(`${conversation} ${target}`);
  if (current?.id !== conversation) return;
  for (const message of current.list.messages) if (replyTo(message) === target) redraw(message.seq);
});
