// Mentions: completing names after @, the members `mentions` and `mention_all` of a content, and unread mentions.

import { Latest } from "../client/latest.js";
import { $, element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, on } from "../shell/bus.js";
import { conversationOf, conversations, current, isGroup, isSeen, othersOf } from "./conversations.js";
import { enrich } from "./composer.js";
import { phrases } from "./content.js";
import { all, may } from "../groups/groups.js";
import { face, loadPeople, nameOf } from "../people/people.js";

const EVERYBODY = "everybody";
const SHOWN = 8;
const MOST = 50;

/* Contents */

const isWord = (character) => character !== undefined && /[\p{L}\p{N}_]/u.test(character);

/** Returns true if a text has a name after an @ as a separate word. */
function names(text, name) {
  for (let at = text.indexOf(`@${name}`); at >= 0; at = text.indexOf(`@${name}`, at + 1)) {
    if (!isWord(text[at - 1]) && !isWord(text[at + name.length + 1])) return true;
  }
  return false;
}

enrich.push(({ mentions: _, mention_all: __, ...content }, conversation) => {
  if (!isGroup(conversation) || !content.text.includes("@")) return content;
  const chosen = [...conversation.mentioned].filter(([name]) => names(content.text, name)).map(([, actor]) => actor);
  const meant = othersOf(conversation).filter((actor) => nameOf(actor) !== "…" && names(content.text, nameOf(actor)));
  const mentions = [...new Set([...chosen, ...meant])].slice(0, MOST);
  const everybody = names(content.text, EVERYBODY) && may(conversation.id, "mention_all");
  return { ...content, ...(mentions.length > 0 && { mentions }), ...(everybody && { mention_all: true }) };
});

phrases.push(({ mentions = [], mention_all: everybody }) => [
  ...(Array.isArray(mentions) ? mentions : []).map((actor) => ({
    text: `@${nameOf(actor)}`,
    className: actor === chat.actor ? "mention mine" : "mention",
  })),
  ...(everybody ? [{ text: `@${EVERYBODY}`, className: "mention mine" }] : []),
]);

/** Returns true if a content mentions the signed-in user. */
export const meansMe = ({ mentions, mention_all: everybody }) =>
  everybody === true || (Array.isArray(mentions) && mentions.includes(chat.actor));

/* Completion */

const box = element("ul", { id: "names", hidden: true });
box.setAttribute("role", "listbox");
box.setAttribute("aria-label", "Mention");
box.dataset.test = "names";
$("composer").append(box);

let found = [];
let at = 0;

/** Returns the text between an @ and the cursor, or undefined. */
function mentionQuery() {
  const before = $("text").value.slice(0, $("text").selectionStart);
  return before.match(/(?:^|[\s(])@([\p{L}\p{N}_.\- ]{0,30})$/u)?.[1];
}

function complete() {
  const query = current && isGroup(current) ? mentionQuery()?.toLowerCase() : undefined;
  if (query === undefined) return close();
  const matches = othersOf(current).filter((actor) => {
    const name = nameOf(actor).toLowerCase();
    return name !== "…" && (name.startsWith(query) || name.split(/\s+/).some((word) => word.startsWith(query)));
  });
  found = matches.slice(0, SHOWN).map((actor) => ({ name: nameOf(actor), actor }));
  if (may(current.id, "mention_all") && EVERYBODY.startsWith(query)) found.push({ name: EVERYBODY });
  at = 0;
  // A complete name needs no list, and Enter sends.
  const isWhole = found.length === 1 && found[0].name.toLowerCase() === query;
  if (found.length === 0 || isWhole) return close();
  showNames();
}

function showNames() {
  box.replaceChildren(
    ...found.map(({ name, actor }, index) => {
      const node = element(
        "li",
        {
          id: `name-${index}`,
          onmousedown: (pressed) => {
            pressed.preventDefault();
            insertName(index);
          },
        },
        actor ? face(actor) : element("span", { className: "avatar" }, "@"),
        element("span", {}, actor ? name : "everybody in the group"),
      );
      node.setAttribute("role", "option");
      node.setAttribute("aria-selected", String(index === at));
      node.dataset.test = `name-${name}`;
      return node;
    }),
  );
  box.hidden = false;
  $("text").setAttribute("aria-expanded", "true");
  $("text").setAttribute("aria-activedescendant", `name-${at}`);
}

function close() {
  found = [];
  box.hidden = true;
  $("text").removeAttribute("aria-expanded");
  $("text").removeAttribute("aria-activedescendant");
}

function insertName(index) {
  const { name, actor } = found[index];
  const cursor = $("text").selectionStart;
  $("text").setRangeText(`@${name} `, cursor - mentionQuery().length - 1, cursor, "end");
  if (actor) current.mentioned.set(name, actor);
  close();
  $("text").dispatchEvent(new Event("input"));
  $("text").focus();
}

$("text").setAttribute("aria-controls", "names");
$("text").setAttribute("aria-autocomplete", "list");
$("text").addEventListener("input", complete);
$("text").addEventListener("blur", close);
// In the capture phase, before Enter reaches the composer.
$("text").addEventListener(
  "keydown",
  (pressed) => {
    if (found.length === 0) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
    if (step) {
      at = (at + step + found.length) % found.length;
      showNames();
    } else if (pressed.key === "Enter" || pressed.key === "Tab") insertName(at);
    else if (pressed.key === "Escape") close();
    else return;
    pressed.preventDefault();
    pressed.stopImmediatePropagation();
  },
  { capture: true },
);

on("open", () => {
  close();
  // Completion needs the names of all members.
  if (current && isGroup(current)) void loadPeople(current.members, 1_000);
});

/* Unread mentions */

/** Returns the number of unread messages that mention the signed-in user. */
export function unseen(conversation) {
  const { read } = chat.marks(conversation.id);
  return conversation.mentions.filter((seq) => seq > read).length;
}

const unread = Latest.each(
  async (group) => (await chat.call("groups.mentions", { group, limit: 100 })).mentions,
  (found, group) => {
    conversationOf(group).mentions = found.map(({ seq }) => seq);
    changed("list");
  },
);

chat.addEventListener("event", ({ detail: { type, conversation, sender, content, seq } }) => {
  if (type !== "message" || sender === chat.actor || !meansMe(content)) return;
  conversationOf(conversation).mentions.push(seq);
  unread.overtake(conversation);
  changed("list");
});

chat.addEventListener("left", ({ detail: { conversation } }) => unread.forget(conversation));

chat.addEventListener("synced", async () => {
  if (![...conversations.values()].some(isGroup)) return;
  const groups = await all("groups.unread_mentions", {}, "groups").catch((error) => {
    if (error.code !== "unknown_method") throw error;
    return [];
  });
  await unread.loadAll(groups.map(({ group }) => group));
});

on("read", async () => {
  const conversation = current;
  if (!conversation || !isSeen(conversation) || conversation.mentions.length === 0) return;
  const upTo = Math.max(...conversation.mentions);
  conversation.mentions = [];
  unread.overtake(conversation.id);
  await chat.call("groups.clear_mentions", { group: conversation.id, up_to: upTo }).catch(() => {});
  unread.overtake(conversation.id);
  changed("list");
});
