// The list of conversations, and of people to begin one with.

import { $, clock, element } from "./dom.js";
import { chat } from "./session.js";
import { nameOf, portrait, remember } from "./people.js";
import { changes, conversations, current, lineOf, open, partnerOf, talkTo, titleOf } from "./conversations.js";

let found = [];

chat.addEventListener("state", async ({ detail: { state } }) => {
  if (state !== "online") return;
  const me = await chat.call("users.whoami");
  remember([me]);
  $("me").textContent = me.display_name;
  await findPeople();
});

async function findPeople() {
  const query = $("search").value.trim();
  const { people } = await chat.call("users.people", { query, limit: 50 });
  remember(people);
  found = people.filter((person) => person.actor !== chat.actor);
  showList();
}

let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => chat.state === "online" && findPeople(), 150);
});

changes.addEventListener("list", showList);

function showList() {
  const query = $("search").value.trim().toLowerCase();
  const talks = [...conversations.values()]
    .filter((conversation) => partnerOf(conversation) && titleOf(conversation).toLowerCase().includes(query))
    .sort((left, right) => (right.last?.time ?? 0) - (left.last?.time ?? 0));
  const partners = new Set(talks.map(partnerOf));
  const others = found.filter((person) => !partners.has(person.actor));
  showUnread();
  $("people").replaceChildren(
    ...talks.map(talk),
    ...(others.length > 0 ? [element("li", { className: "heading" }, "People")] : []),
    ...others.map(stranger),
  );
}

function talk(conversation) {
  const { last, writing } = conversation;
  const line = writing.size > 0 ? "is writing…" : lineOf(conversation);
  const go = () => open(conversation);
  return entry(titleOf(conversation), line, go, last?.time, badge(conversation), conversation === current);
}

const stranger = ({ actor }) => entry(nameOf(actor), "Say hello", () => talkTo(actor));

function entry(name, line, onclick, time, badge = null, open = false) {
  const node = element("button", { onclick },
    portrait(name),
    element("span", {}, name),
    time ? element("time", {}, clock(time)) : null,
    element("span", { className: "last" }, line),
    badge,
  );
  node.dataset.test = `person-${name}`;
  node.setAttribute("aria-current", String(open));
  return element("li", {}, node);
}

/** Returns how many messages are unread, if any. */
function badge(conversation) {
  const { unread } = chat.marks(conversation.id);
  if (unread === 0) return null;
  const node = element("span", { className: "badge" }, unread < 100 ? String(unread) : "99+");
  node.dataset.test = "unread";
  node.setAttribute("aria-label", `${unread} unread`);
  return node;
}

function showUnread() {
  let unread = 0;
  for (const { id } of conversations.values()) unread += chat.marks(id).unread;
  document.title = unread > 0 ? `(${unread < 100 ? unread : "99+"}) Courtyard` : "Courtyard";
}
