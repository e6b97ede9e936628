// The messages of the open conversation.

import { revised } from "/client/courtyard.js";
import { $, clock, day, element, patch, tell } from "./dom.js";
import { chat } from "./session.js";
import { nameOf, portray } from "./people.js";
import { changed, changes, conversationOf, current, older, open, read, titleOf } from "./conversations.js";
import { contentOf, previewOf } from "./content.js";

/** What a click on a reaction, on ⋯ and on a message does; `menu.js` says. */
export const acts = { toggle() {}, openMenu() {} };

const redrawn = new Map();

/** Has a message of the open conversation drawn anew, when something else than the message itself changed. */
export function redraw(seq) {
  redrawn.set(seq, (redrawn.get(seq) ?? 0) + 1);
  changed("messages");
}

changes.addEventListener("open", () => {
  $("house").classList.toggle("talking", current !== null);
  $("empty").hidden = current !== null;
  redrawn.clear();
  showWriting();
  if (!current) return;
  $("title").textContent = titleOf(current);
  portray($("avatar"), titleOf(current));
  showMessages(true);
});
changes.addEventListener("messages", ({ detail: { toEnd, older } }) => {
  if (!current) return;
  const list = $("messages");
  const below = list.scrollHeight - list.scrollTop;
  showMessages(toEnd);
  if (older) list.scrollTop = list.scrollHeight - below;
});
changes.addEventListener("writing", showWriting);

chat.addEventListener("sent", () => changed("messages"));
chat.addEventListener("refused", ({ detail: { message, error } }) => {
  const conversation = conversationOf(message.conversation);
  if (message.type === "send") conversation.pending.push({ ...message, state: "failed", reason: error.message });
  else tell(error.message);
  if (conversation === current) changed("messages", { toEnd: message.type === "send" });
});

$("back").addEventListener("click", () => open(null));
$("messages").addEventListener("scroll", () => {
  if (current && $("messages").scrollTop <= 60) void older(current);
});

function showWriting() {
  const names = [...(current?.writing ?? [])].map(nameOf);
  $("writing").textContent = names.length > 0 ? `${names.join(", ")} ${names.length > 1 ? "are" : "is"} writing…` : "";
}

/**
 * Returns the messages of the open conversation as they will be when everything unsent has arrived, then those that modules
 * keep in its `pending`: {id, kind, content, state: "queued" | "failed", reason?}.
 */
export function visible() {
  const unsent = chat.unsent.filter(({ conversation }) => conversation === current.id);
  const { receipts } = chat.marks(current.id);
  const shown = current.list.messages.map((message) => {
    const acts = unsent.filter(({ target }) => target === message.seq);
    const queued = acts.some(({ type }) => type === "edit" || type === "recall");
    const state = queued ? "queued" : message.sender === chat.actor ? "sent" : "";
    const mark = state === "sent" ? markOf(message.seq, receipts) : "";
    return { ...acts.reduce((done, act) => revised(done, expected(act)), message), state, mark };
  });
  const own = (message, state) => ({ ...message, state, sender: chat.actor, client_id: message.id, seq: undefined });
  const waiting = unsent.filter(({ type }) => type === "send").map((message) => own(message, "queued"));
  return [...shown, ...waiting, ...current.pending.map((message) => own(message, message.state))];
}

/** Returns how far an own message came with all the others. */
function markOf(seq, receipts) {
  const others = current.members.filter((member) => member !== chat.actor);
  const reached = (kind) => others.length > 0
    && others.every((member) => receipts.some((receipt) => receipt.actor === member && receipt[kind] >= seq));
  return reached("read") ? "read" : reached("delivered") ? "delivered" : "";
}

/** Returns the event that an act of one's own becomes. */
function expected({ type, content, emoji }) {
  const event = { sender: chat.actor, time: Date.now() };
  if (emoji) return { ...event, type: "reaction", content: { emoji, on: type === "react" } };
  return { ...event, type, content };
}

function showMessages(toEnd = false) {
  const list = $("messages");
  const atEnd = toEnd || list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const rows = [];
  let before = null;
  for (const message of visible()) {
    const time = message.time ?? Date.now();
    if (!before || day(before.time) !== day(time)) rows.push({ key: day(time), build: () => separator(day(time)) });
    const turn = before?.sender !== message.sender;
    rows.push({
      key: `${message.sender} ${message.client_id || message.id}`,
      like: JSON.stringify([
        message, turn, message.reactions?.map(({ actors }) => actors.map(nameOf)), redrawn.get(message.seq),
      ]),
      build: () => row({ ...message, time }, turn),
    });
    before = { sender: message.sender, time };
  }
  patch(list, rows);
  reachable(list);
  if (atEnd) list.scrollTop = list.scrollHeight;
  read();
  changed("shown");
}

/** One message at a time can be reached with Tab: the newest one at first. */
function reachable(list) {
  const ends = [...list.querySelectorAll(".more")];
  if (!ends.some((button) => button.tabIndex === 0)) ends.at(-1)?.setAttribute("tabindex", "0");
}

const separator = (text) => element("li", { className: "day" }, text);

const SIGNS = { sent: "✓", delivered: "✓✓", read: "✓✓", queued: "🕓", failed: "⚠" };

function row(message, turn) {
  const { state, mark, recalled, edited, seq } = message;
  const own = message.sender === chat.actor;
  const sign = SIGNS[mark || state];
  const bubble = element("div", { className: "note" },
    contentOf(message, { conversation: current }),
    element("small", { title: message.reason ?? (mark || state) },
      edited ? element("span", { className: "edited", title: `Edited ${new Date(edited).toLocaleString()}` }, "edited ") : null,
      clock(message.time),
      sign ? element("span", { className: `sign ${mark}` }, ` ${sign}`) : null),
  );
  const text = recalled ? "" : (message.content.text ?? "");
  Object.assign(bubble.dataset, { state, mark: mark ?? "", seq: seq ?? "", kind: message.kind, text });
  const item = element("li", {}, bubble);
  item.className = ["row", own && "own", turn && "turn", recalled && "recalled", state === "failed" && "failed"]
    .filter(Boolean).join(" ");
  if (seq === undefined || recalled) return item;
  bubble.addEventListener("click", ({ target }) => {
    // With a mouse a click selects text; the button is for that.
    if (matchMedia("(hover: none)").matches && !target.closest("a, button, audio, video")) acts.openMenu(seq);
  });
  item.append(moreButton(seq, previewOf(message)));
  if (message.reactions.length > 0) {
    item.append(element("div", { className: "chips" }, ...message.reactions.map((reaction) => chip(seq, reaction))));
  }
  return item;
}

function moreButton(seq, text) {
  const attributes = { className: "more", title: "React, edit, recall", tabIndex: -1, onclick: () => acts.openMenu(seq) };
  const button = element("button", attributes, "⋯");
  button.dataset.part = "more";
  button.setAttribute("aria-haspopup", "true");
  button.setAttribute("aria-label", `Actions on: ${text.slice(0, 60)}`);
  return button;
}

function chip(seq, { emoji, actors }) {
  const own = actors.includes(chat.actor);
  const who = actors.slice(0, 20).map((actor) => (actor === chat.actor ? "you" : nameOf(actor))).join(", ");
  const button = element("button", { className: "chip", title: who, onclick: () => acts.toggle(seq, emoji) },
    element("span", {}, emoji), element("b", {}, String(actors.length)));
  button.dataset.part = `chip ${emoji}`;
  button.dataset.test = `chip-${emoji}`;
  button.setAttribute("aria-pressed", String(own));
  button.setAttribute("aria-label", `${emoji}, ${actors.length}: ${who}`);
  return button;
}

/* The arrows go on from the message that Tab reached. */
$("messages").addEventListener("keydown", (pressed) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
  if (!step || !pressed.target.matches(".more")) return;
  pressed.preventDefault();
  const buttons = [...$("messages").querySelectorAll(".more")];
  const next = buttons[buttons.indexOf(pressed.target) + step];
  if (!next) return;
  next.focus();
  next.closest("li").scrollIntoView({ block: "nearest" });
});
$("messages").addEventListener("focusin", ({ target }) => {
  const button = target.closest("li")?.querySelector(".more");
  if (!button) return;
  for (const other of $("messages").querySelectorAll(".more")) other.tabIndex = -1;
  button.tabIndex = 0;
});
