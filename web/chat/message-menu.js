// The menu of a message.

import { $, button, element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, changes, current } from "./conversations.js";
import { confirmed } from "../shell/dialog.js";
import { acts, visible } from "./message-list.js";
import { beginEdit } from "./composer.js";

const REACTIONS = ["👍", "❤️", "😂", "😮", "😢", "🎉"];

/**
 * Further actions: functions (message, {conversation}) → {text, test, run, question?} or null. Modules register theirs. A dialog
 * asks the question before an action that can't be undone.
 */
export const furtherActs = [];

let menuOf = null;

const rowOf = (seq) => document.querySelector(`#messages .note[data-seq="${seq}"]`)?.closest("li");
const reactionsOf = (seq) => visible().find((message) => message.seq === seq)?.reactions ?? [];
const hasReacted = (seq, emoji) =>
  reactionsOf(seq).some((reaction) => reaction.emoji === emoji && reaction.actors.includes(chat.actor));

acts.toggle = (seq, emoji) => {
  if (hasReacted(seq, emoji)) chat.unreact(current.id, seq, emoji);
  else chat.react(current.id, seq, emoji);
  changed("messages");
};

furtherActs.push(
  ({ sender, kind, seq }) =>
    sender === chat.actor && kind === "text" ? { text: "Edit", test: "edit", run: () => beginEdit(seq) } : null,
  ({ sender, seq }, { conversation }) =>
    sender === chat.actor
      ? {
          text: "Delete message",
          test: "recall",
          question: "Delete this message for everyone?",
          run: () => chat.recall(conversation.id, seq),
        }
      : null,
);

acts.openMenu = (seq) => {
  const message = current.list.get(seq);
  if (!message || message.recalled) return;
  const reactions = REACTIONS.map((emoji) => reaction(seq, emoji));
  const further = furtherActs.map((act) => act(message, { conversation: current })).filter(Boolean);
  $("message-menu").replaceChildren(
    element("div", { className: "reactions" }, ...reactions),
    ...(further.length > 0 ? [element("div", { className: "acts" }, ...further.map(act))] : []),
  );
  $("message-menu").showPopover();
  menuOf = seq;
  rowOf(seq)?.classList.add("open");
  placeMenu();
  reactions[0].focus({ preventScroll: true });
};

function reaction(seq, emoji) {
  const node = button(
    emoji,
    `react-${emoji}`,
    () => {
      $("message-menu").hidePopover();
      acts.toggle(seq, emoji);
    },
    { className: "emoji" },
  );
  node.setAttribute("aria-pressed", String(hasReacted(seq, emoji)));
  node.setAttribute("aria-label", `React with ${emoji}`);
  return node;
}

const act = ({ text, test, question, run }) =>
  button(text, test, async () => {
    $("message-menu").hidePopover();
    if (question && !(await confirmed(question, text, test))) return;
    await run();
    if (current) changed("messages");
  });

/** Places the menu above its message, or below if there is no space. */
function placeMenu() {
  if (menuOf === null) return;
  const item = rowOf(menuOf);
  const list = $("messages").getBoundingClientRect();
  const bubble = item?.querySelector(".note").getBoundingClientRect();
  if (!item?.querySelector(".more") || bubble.bottom < list.top || bubble.top > list.bottom)
    return $("message-menu").hidePopover();
  item.classList.add("open");
  const { offsetWidth: width, offsetHeight: height } = $("message-menu");
  const left = item.classList.contains("own") ? bubble.right - width : bubble.left;
  const above = bubble.top - height - 6;
  const top = above < list.top ? Math.min(bubble.bottom + 6, innerHeight - height - 8) : above;
  $("message-menu").style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  $("message-menu").style.top = `${top}px`;
}

addEventListener("resize", placeMenu);
$("messages").addEventListener("scroll", placeMenu);
changes.addEventListener("shown", placeMenu);
$("message-menu").addEventListener("toggle", ({ newState }) => {
  if (newState !== "closed" || $("message-menu").matches(":popover-open")) return;
  for (const item of document.querySelectorAll("#messages .open")) item.classList.remove("open");
  const item = rowOf(menuOf);
  menuOf = null;
  const more = /** @type {HTMLElement | undefined} */ (item?.querySelector(".more"));
  if (document.activeElement === document.body) more?.focus({ preventScroll: true });
});
$("message-menu").addEventListener("keydown", (pressed) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[pressed.key];
  if (!step) return;
  pressed.preventDefault();
  const buttons = [...$("message-menu").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement) + step;
  buttons.at(at % buttons.length).focus();
});
