// Pinned messages of a group: the bar above the messages, and the page.

import { Latest } from "../client/latest.js";
import { $, attempt, element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { on, batched } from "../shell/bus.js";
import { conversationOf, current, isGroup } from "../chat/conversations.js";
import { previewOf } from "../chat/content.js";
import { load, may } from "./groups.js";
import { furtherActs } from "../chat/message-menu.js";
import { closePanel, openPanel } from "../shell/panel.js";
import { action, list } from "../shell/panel-widgets.js";
import { ago, loadPeople, nameOf } from "../people/people.js";
import { isPinned, show } from "../chat/message-list.js";

furtherActs.push((message, { conversation }) => {
  if (!isGroup(conversation) || !may(conversation.id, "pin")) return null;
  const method = isPinned(message) ? "unpin" : "pin";
  return {
    text: isPinned(message) ? "Unpin" : "Pin",
    test: method,
    run: () => attempt(() => chat.call(`groups.${method}`, { group: conversation.id, seq: message.seq })),
  };
});

const bar = element("button", { id: "pinned", type: "button", hidden: true });
bar.dataset.test = "pinned";
$("above").append(bar);

/** Pinned messages by group, the newest first. */
const pinned = new Map();

const pins = Latest.each(
  async (id) => {
    const answer = await chat.call("groups.pins", { group: id });
    const found = await Promise.all(
      answer.pins.map(async (pin) => {
        const known = conversationOf(id).list.get(pin.seq);
        const message =
          known ?? (await chat.history(id, { after: pin.seq - 1, limit: 1 })).events.find(({ seq }) => seq === pin.seq);
        return { ...pin, message };
      }),
    );
    return found.filter(({ message }) => message && !message.recalled).sort((left, right) => right.seq - left.seq);
  },
  (found, id) => {
    pinned.set(id, found);
    return found;
  },
);

const draw = batched(() => {
  const [newest] = (current && pinned.get(current.id)) ?? [];
  bar.hidden = !newest;
  if (!newest) return;
  const message = current.list.get(newest.seq) ?? newest.message;
  bar.replaceChildren("📌 ", element("span", {}, previewOf(message, { conversation: current })));
  bar.onclick = () =>
    pinned.get(current.id).length > 1 ? openPanel(pinsPage(current.id)) : attempt(() => show(newest.seq));
});

on("open", async () => {
  draw();
  if (!current || !isGroup(current)) return;
  await pins.load(current.id).catch((error) => {
    // The group may have been deleted, or the server has no groups.
    if (!error.code) throw error;
  });
  draw();
});
on("messages", draw);

chat.addEventListener("event", async ({ detail: { type, sender, kind, conversation } }) => {
  const isPin = type === "annotation" && sender === "groups" && kind === "pin";
  if (conversation !== current?.id || (!isPin && type !== "recall")) return;
  await pins.load(conversation).catch(() => {});
  draw();
});

chat.addEventListener("left", ({ detail: { conversation } }) => {
  pins.forget(conversation);
  pinned.delete(conversation);
});

export const pinsPage = (id) => ({ title: "Pinned messages", test: "pins-page", build: (body) => build(body, id) });

async function build(body, id) {
  const [found = []] = await Promise.all([pins.load(id), load(id)]);
  await loadPeople(found.flatMap(({ by, message }) => [by, message.sender]));
  body.append(
    list(
      found.map((pin) => row(id, pin)),
      "pin-list",
      "No pinned messages.",
    ),
  );
}

function row(id, { seq, by, at_ms, message }) {
  const go = async () => {
    if (matchMedia("(max-width: 60rem)").matches) closePanel();
    await show(seq);
  };
  const main = element(
    "button",
    { type: "button", className: "plain person", onclick: () => attempt(go) },
    element(
      "span",
      { className: "who" },
      element("span", { className: "name" }, nameOf(message.sender)),
      element("span", { className: "excerpt" }, previewOf(message, { conversation: conversationOf(id) })),
      element("small", { className: "quiet" }, `pinned by ${nameOf(by)}, ${ago(at_ms)}`),
    ),
  );
  main.dataset.test = `pin-${seq}`;
  return element(
    "div",
    { className: "row" },
    main,
    ...(may(id, "pin")
      ? [action("Unpin", `unpin-${seq}`, () => chat.call("groups.unpin", { group: id, seq }), { className: "small" })]
      : []),
  );
}
