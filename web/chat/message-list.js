// The messages of the open conversation.

import { revised } from "../client/courtyard.js";
import { $, button, clock, day, element, patch, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { face, nameOf, personOf } from "../people/people.js";
import { perFrame, on } from "../shell/bus.js";
import { changed, conversationOf, current, isDirect, older, open, othersOf, read } from "./conversations.js";
import { contentOf, eventLineOf, previewOf } from "./content.js";

/**
 * Actions of reactions, ⋯ and names; `chat/message-menu.js` and `people/profile.js` set them.
 *
 * @type {Record<"toggle" | "openMenu" | "openPerson", (...values: any[]) => void>}
 */
export const acts = { toggle() {}, openMenu() {}, openPerson() {} };

const redrawn = new Map();

/** Redraws messages of the open conversation after a change outside of the messages themselves. */
export function redraw(...messages) {
  for (const seq of messages) redrawn.set(seq, (redrawn.get(seq) ?? 0) + 1);
  changed("messages");
}

on("open", () => {
  $("shell").classList.toggle("in-conversation", current !== null);
  $("empty").hidden = current !== null;
  redrawn.clear();
  if (current) showMessages(true);
});
// Events and acks can arrive in bursts: one draw per frame.
let goesToEnd = false;
const draw = perFrame(() => {
  const toEnd = goesToEnd;
  goesToEnd = false;
  if (current) showMessages(toEnd);
});
on("messages", ({ toEnd, older }) => {
  if (!current) return;
  if (toEnd) goesToEnd = true;
  if (!older) return draw();
  const list = $("messages");
  const below = list.scrollHeight - list.scrollTop;
  showMessages();
  list.scrollTop = list.scrollHeight - below;
});
on("people groups", draw);

chat.addEventListener("sent", () => changed("messages"));
chat.addEventListener("refused", ({ detail: { message, error } }) => {
  const conversation = conversationOf(message.conversation);
  if (message.type === "send") conversation.pending.push({ ...message, state: "failed", reason: error.message });
  else showNotice(error.message);
  if (conversation === current) changed("messages", { toEnd: message.type === "send" });
});

$("messages").addEventListener("scroll", () => {
  if (current && $("messages").scrollTop <= 60) void older(current);
});

/** Scrolls to a message of the open conversation, and loads older pages until it is found. */
export async function show(seq) {
  for (let first; current && current.list.first > seq && current.list.first !== first;) {
    ({ first } = current.list);
    await older(current, 500);
  }
  if (current) showMessages();
  const bubble = document.querySelector(`#messages .note[data-seq="${seq}"]`);
  if (!bubble) return;
  bubble.scrollIntoView({ block: "center" });
  bubble.classList.add("shown");
  bubble.addEventListener("animationend", () => bubble.classList.remove("shown"), { once: true });
}

/**
 * Returns the messages of the open conversation with all unsent acts applied, then the entries of its `pending`:
 * {id, kind, content, state: "queued" | "failed", reason?}.
 */
export function visible() {
  const unsent = chat.unsent.filter(({ conversation }) => conversation === current.id);
  const reach = reachOf(current);
  const shown = current.list.messages.map((message) => {
    const acts = unsent.filter(({ target }) => target === message.seq);
    const queued = acts.some(({ type }) => type === "edit" || type === "recall");
    const state = queued ? "queued" : message.sender === chat.actor ? "sent" : "";
    const revision = acts.reduce((done, act) => revised(done, expected(act)), message);
    return { ...revision, state, ...(state === "sent" && markOf(message.seq, reach)) };
  });
  const own = (message, state) => ({ ...message, state, sender: chat.actor, client_id: message.id, seq: undefined });
  const queued = unsent.filter(({ type }) => type === "send").map((message) => own(message, "queued"));
  return [...shown, ...queued, ...current.pending.map((message) => own(message, message.state))];
}

/** Returns the receipts of members who have read a message of the open conversation. */
export const readersOf = (seq) =>
  chat.marks(current.id).receipts.filter(({ actor, read }) => read >= seq && current.members.includes(actor));

/** Returns how far all others have received and read a conversation, and the read mark of each. */
function reachOf(conversation) {
  const known = new Map(chat.marks(conversation.id).receipts.map((receipt) => [receipt.actor, receipt]));
  const others = othersOf(conversation).map((actor) => known.get(actor) ?? { delivered: 0, read: 0 });
  const least = (kind) => others.reduce((least, mark) => Math.min(least, mark[kind]), others.length > 0 ? Infinity : 0);
  return { delivered: least("delivered"), read: least("read"), reads: others.map(({ read }) => read) };
}

/** Returns the mark of an own message ("read", "delivered" or ""), and the number of readers in a group. */
function markOf(seq, { delivered, read, reads }) {
  const mark = read >= seq ? "read" : delivered >= seq ? "delivered" : "";
  return { mark, seen: isDirect(current) ? 0 : reads.filter((read) => read >= seq).length };
}

/** Returns the event that an unsent act will become. @returns {any} */
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
  for (const event of timeline()) {
    const time = event.time ?? Date.now();
    if (!before || day(before.time) !== day(time)) {
      rows.push({ key: day(time), build: () => between(day(time), "day") });
      before = null;
    }
    const line = eventLineOf(event, { conversation: current });
    rows.push(
      line === undefined
        ? rowOf(event, time, before?.sender !== event.sender)
        : { key: `line ${event.seq}`, like: line, build: () => between(line, "happened") },
    );
    before = { sender: line === undefined ? event.sender : undefined, time };
  }
  patch(list, rows);
  reachable(list);
  if (atEnd) list.scrollTop = list.scrollHeight;
  read();
  changed("shown");
}

/** Returns the messages and the lines between them, in order. */
function timeline() {
  const messages = visible();
  const {
    list: { first },
    notices,
  } = current;
  const happened = [...notices.values()].filter(({ seq }) => seq >= first);
  if (happened.length === 0) return messages;
  const place = ({ seq }) => seq ?? Infinity;
  return [...messages, ...happened].sort((left, right) =>
    place(left) === place(right) ? 0 : place(left) - place(right),
  );
}

function rowOf(message, time, turn) {
  const who = message.sender;
  return {
    key: `${who} ${message.client_id || message.id}`,
    like: JSON.stringify([
      message,
      turn,
      nameOf(who),
      personOf(who)?.avatar,
      message.reactions?.map(({ actors }) => actors.map(nameOf)),
      message.content.mentions?.map?.(nameOf),
      redrawn.get(message.seq),
    ]),
    build: () => row({ ...message, time }, turn),
  };
}

/** Keeps one message reachable with Tab, at first the newest (roving tabindex). */
function reachable(list) {
  const ends = [...list.querySelectorAll(".more")];
  if (!ends.some((button) => button.tabIndex === 0)) ends.at(-1)?.setAttribute("tabindex", "0");
}

const between = (text, className) => element("li", { className }, text);

const SIGNS = { sent: "✓", delivered: "✓✓", read: "✓✓", queued: "🕓", failed: "⚠" };

function row(message, turn) {
  const { state, mark = "", recalled, edited, seq } = message;
  const own = message.sender === chat.actor;
  const sign = SIGNS[mark || state];
  const bubble = element(
    "div",
    { className: "note" },
    contentOf(message, { conversation: current }),
    element(
      "small",
      { title: message.reason ?? (message.seen > 0 ? `read by ${message.seen}` : mark || state) },
      edited
        ? element("span", { className: "edited", title: `Edited ${new Date(edited).toLocaleString()}` }, "edited ")
        : null,
      isPinned(message) ? element("span", { title: "Pinned" }, "📌 ") : null,
      clock(message.time),
      message.seen > 0 && mark !== "read" ? element("span", { className: "seen" }, ` ${message.seen}`) : null,
      sign ? element("span", { className: `sign ${mark}` }, ` ${sign}`) : null,
    ),
  );
  const text = recalled ? "" : (message.content.text ?? "");
  Object.assign(bubble.dataset, { state, mark, seq: seq ?? "", kind: message.kind, text });
  const peer = !own && !isDirect(current);
  if (peer && turn) bubble.prepend(sender(message.sender));
  const item = element("li", {}, peer && turn ? face(message.sender) : null, bubble);
  item.className = [
    "row",
    own && "own",
    peer && "peer",
    turn && "turn",
    recalled && "recalled",
    state === "failed" && "failed",
    message.kind === "custom:announcement" && "announcement",
  ]
    .filter(Boolean)
    .join(" ");
  if (state === "failed") item.append(failure(message));
  if (seq === undefined || recalled) return item;
  bubble.addEventListener("click", ({ target }) => {
    // With a mouse, a click selects text, and ⋯ opens the menu.
    if (matchMedia("(hover: none)").matches && !target.closest("a, button, audio, video")) acts.openMenu(seq);
  });
  item.append(moreButton(seq, previewOf(message)));
  if (message.reactions.length > 0) {
    item.append(element("div", { className: "chips" }, ...message.reactions.map((reaction) => chip(seq, reaction))));
  }
  return item;
}

/** Returns true if the groups plugin has annotated a message as pinned. */
export const isPinned = ({ annotations = [] }) =>
  annotations.some(({ plugin, name, value }) => plugin === "groups" && name === "pin" && value?.pinned === true);

/** Returns the reason of a failed message, with buttons. Entries of `pending` may have their own `retry` and `drop`. */
function failure(message) {
  const queued = current.pending.find(({ id }) => id === message.id);
  const forget = (then) => () => {
    current.pending = current.pending.filter((other) => other !== queued);
    then?.();
    changed("messages");
  };
  const again = queued?.retry ?? (() => chat.send(queued.conversation, queued.content, queued.kind));
  const node = element(
    "p",
    { className: "failure" },
    element("span", {}, message.reason ?? "Not sent."),
    button("Try again", "try-again", forget(again)),
    button("Delete", "drop-failed", forget(queued?.drop)),
  );
  node.dataset.test = "failure";
  return node;
}

function sender(actor) {
  const node = element(
    "button",
    { className: "sender plain", type: "button", onclick: () => acts.openPerson(actor) },
    nameOf(actor),
  );
  node.style.setProperty(
    "--hue",
    [...nameOf(actor)].reduce((hue, letter) => (hue * 31 + letter.codePointAt(0)) % 360, 0),
  );
  node.tabIndex = -1;
  return node;
}

function moreButton(seq, text) {
  const attributes = {
    className: "more",
    title: "React, edit, delete",
    tabIndex: -1,
    onclick: () => acts.openMenu(seq),
  };
  const button = element("button", attributes, "⋯");
  button.dataset.part = "more";
  button.setAttribute("aria-haspopup", "true");
  button.setAttribute("aria-label", `Actions on: ${text.slice(0, 60)}`);
  return button;
}

function chip(seq, { emoji, actors }) {
  const own = actors.includes(chat.actor);
  const who = actors
    .slice(0, 20)
    .map((actor) => (actor === chat.actor ? "you" : nameOf(actor)))
    .join(", ");
  const button = element(
    "button",
    { className: "chip", title: who, onclick: () => acts.toggle(seq, emoji) },
    element("span", {}, emoji),
    element("b", {}, String(actors.length)),
  );
  button.dataset.part = `chip ${emoji}`;
  button.dataset.test = `chip-${emoji}`;
  button.setAttribute("aria-pressed", String(own));
  button.setAttribute("aria-label", `${emoji}, ${actors.length}: ${who}`);
  return button;
}

/* Arrow keys move from the message that has the focus. */
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
