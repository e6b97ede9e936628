// The list of conversations, invitations and found people.

import { Latest } from "../client/latest.js";
import { $, action, attempt, clock, element, patch } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { on, batched } from "../shell/bus.js";
import { face, appearanceOf, nameOf, now, storePeople } from "../people/people.js";
import {
  conversations,
  current,
  enterGroup,
  faceOf,
  isDirect,
  lineOf,
  looksOf,
  nameList,
  open,
  partnerOf,
  openDirect,
  timeOf,
  titleOf,
} from "./conversations.js";
import { groupOf, invitations, loadInvitations } from "../groups/groups.js";
import { unseen } from "./mentions.js";

let found = [];

/* Finding people */

const words = () => $("search").value.trim();

async function search(query) {
  if (!query) return (await chat.call("users.people", { limit: 50 })).people;
  const people = [];
  // A short page may have a next one.
  for (let after, turn = 0; turn < 5 && people.length < 20; turn++) {
    const page = await chat.call("users.search", { query, limit: 50, ...(after ? { after } : {}) });
    people.push(...page.people);
    if (!(after = page.next)) break;
  }
  return people;
}

export async function findPeople(query = words()) {
  const since = now();
  const people = await search(query).catch((error) => {
    if (error.code === "users.invalid_query") return [];
    throw error;
  });
  storePeople(people, since);
  return people.filter(({ actor }) => actor !== chat.actor).map(({ actor }) => actor);
}

const finding = Latest.each(
  async () => ({ query: words(), people: await findPeople() }),
  ({ query, people }) => {
    if (query !== words()) return;
    found = people;
    showList();
  },
);
const refind = () => finding.load("people");

let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  showList();
  typing = setTimeout(() => chat.state === "online" && void refind(), 150);
});

chat.addEventListener("state", ({ detail: { state } }) => {
  if (state === "online") void refind();
});

// The search is finished when a result is opened.
on("open", () => {
  if (!current || !words()) return;
  $("search").value = "";
  found = [];
});

/* The list */

const showList = batched(draw);
on("list people groups", showList);

function isWanted(conversation, query) {
  if (!conversation.kind || (isDirect(conversation) && !partnerOf(conversation))) return false;
  return titleOf(conversation).toLowerCase().includes(query);
}

function draw() {
  const query = words().toLowerCase();
  const shown = [...conversations.values()]
    .filter((conversation) => isWanted(conversation, query))
    .sort((left, right) => timeOf(right) - timeOf(left));
  const partners = new Set(shown.map(partnerOf));
  // Without a query, people are listed only if there are no conversations.
  const others = query || shown.length === 0 ? found.filter((actor) => !partners.has(actor)) : [];
  showUnread();
  patch($("conversations"), [
    ...(query ? [] : invitations.map(invitation)),
    ...shown.map(conversationRow),
    ...(others.length > 0 ? [{ key: "people", build: () => element("li", { className: "heading" }, "People") }] : []),
    ...others.map(personEntry),
    ...(query && shown.length + others.length === 0
      ? [{ key: "none", build: () => element("li", { className: "nothing quiet" }, "No results.") }]
      : []),
  ]);
}

function invitation({ group, name, by }) {
  const build = () => {
    const test = name || "discussion";
    const answer = (method, text, after, className) =>
      action(
        text,
        `${method}-${test}`,
        async () => {
          await chat.call(`groups.${method}`, { group });
          await loadInvitations();
          await after?.();
        },
        { className },
      );
    return element(
      "li",
      { className: "invitation" },
      element(
        "span",
        {},
        element("strong", {}, name || "A discussion"),
        element("br"),
        element("small", { className: "quiet" }, `${nameOf(by)} invites you`),
      ),
      answer("accept", "Join", () => enterGroup(group), "main"),
      answer("decline", "Decline"),
    );
  };
  return { key: `invitation ${group}`, like: JSON.stringify([name, nameOf(by)]), build };
}

function conversationRow(conversation) {
  const { id, writing } = conversation;
  const { unread } = chat.marks(id);
  const shown = {
    name: titleOf(conversation),
    line: writing.size > 0 ? typingText(conversation) : lineOf(conversation) || "No messages yet",
    time: timeOf(conversation),
    unread,
    mentions: unseen(conversation),
    open: conversation === current,
    muted: groupOf(id)?.notify === "none",
  };
  return {
    key: id,
    like: JSON.stringify([shown, looksOf(conversation)]),
    build: () =>
      entry(shown, faceOf(conversation), `${isDirect(conversation) ? "person" : "group"}-${shown.name}`, () =>
        attempt(() => open(conversation)),
      ),
  };
}

/** Returns the text about members who are typing. */
export function typingText(conversation) {
  const writing = [...conversation.writing];
  if (isDirect(conversation)) return "is typing…";
  return writing.length > 3
    ? "Several people are typing…"
    : `${nameList(writing)} ${writing.length > 1 ? "are" : "is"} typing…`;
}

const personEntry = (actor) => ({
  key: actor,
  like: JSON.stringify(appearanceOf(actor)),
  build: () =>
    entry({ name: nameOf(actor), line: "Start a conversation" }, face(actor), `person-${nameOf(actor)}`, () =>
      attempt(() => openDirect(actor)),
    ),
});

/** Formats a time: the clock today, the weekday within a week, else the date. */
function when(time) {
  const age = (new Date().setHours(24, 0, 0, 0) - time) / 86_400_000;
  if (age <= 1) return clock(time);
  return new Date(time).toLocaleDateString([], age <= 6 ? { weekday: "short" } : { day: "numeric", month: "short" });
}

/** @param {any} shown */
function entry({ name, line, time, unread = 0, mentions = 0, open = false, muted = false }, picture, test, onclick) {
  const node = element(
    "button",
    { onclick, className: muted ? "muted" : "" },
    picture,
    element("span", { className: "name" }, name),
    time ? element("time", {}, when(time)) : null,
    element("span", { className: "last" }, line),
    element(
      "span",
      { className: "badges" },
      mentions > 0 ? badge("@", "mentions", `${mentions} mention you`, "at") : null,
      unread > 0 ? badge(unread < 100 ? String(unread) : "99+", "unread", `${unread} unread`) : null,
    ),
  );
  node.dataset.test = test;
  node.dataset.part = "entry";
  node.setAttribute("aria-current", String(open));
  return element("li", {}, node);
}

function badge(text, test, label, className = "") {
  const node = element("span", { className: `badge ${className}` }, text);
  node.dataset.test = test;
  node.setAttribute("aria-label", label);
  return node;
}

function showUnread() {
  let unread = 0;
  for (const { id } of conversations.values()) {
    if (groupOf(id)?.notify !== "none") unread += chat.marks(id).unread;
  }
  document.title = unread > 0 ? `(${unread < 100 ? unread : "99+"}) Courtyard` : "Courtyard";
}
