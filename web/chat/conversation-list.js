// The list of conversations, of invitations, and of people to begin one with.

import { Latest } from "../client/latest.js";
import { $, action, attempt, clock, element, patch } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { on, soon } from "../shell/bus.js";
import { face, looks, nameOf, now, remember } from "../people/people.js";
import {
  conversations, current, enterGroup, faceOf, isDirect, lineOf, looksOf, naming, open, partnerOf, talkTo, timeOf, titleOf,
} from "./conversations.js";
import { groupOf, invitations, loadInvitations } from "../groups/groups.js";
import { unseen } from "./mentions.js";

let found = [];

/* Finding people */

const words = () => $("search").value.trim();

async function search(query) {
  if (!query) return (await chat.call("users.people", { limit: 50 })).people;
  const people = [];
  // A page may be short, and there may still be more.
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
    if (error.code === "users.bad_query") return [];
    throw error;
  });
  remember(people, since);
  return people.filter(({ actor }) => actor !== chat.actor).map(({ actor }) => actor);
}

const finding = Latest.each(async () => ({ query: words(), people: await findPeople() }), ({ query, people }) => {
  if (query !== words()) return;
  found = people;
  showList();
});
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

// Whoever was found is talked to now.
on("open", () => {
  if (!current || !words()) return;
  $("search").value = "";
  found = [];
});

/* The list */

const showList = soon(draw);
on("list people groups", showList);

function isWanted(conversation, query) {
  if (!conversation.kind || (isDirect(conversation) && !partnerOf(conversation))) return false;
  return titleOf(conversation).toLowerCase().includes(query);
}

function draw() {
  const query = words().toLowerCase();
  const talks = [...conversations.values()]
    .filter((conversation) => isWanted(conversation, query))
    .sort((left, right) => timeOf(right) - timeOf(left));
  const partners = new Set(talks.map(partnerOf));
  // Whoever has conversations looks for people in words.
  const others = query || talks.length === 0 ? found.filter((actor) => !partners.has(actor)) : [];
  showUnread();
  patch($("people"), [
    ...(query ? [] : invitations.map(invitation)),
    ...talks.map(talk),
    ...(others.length > 0 ? [{ key: "people", build: () => element("li", { className: "heading" }, "People") }] : []),
    ...others.map(stranger),
    ...(query && talks.length + others.length === 0
      ? [{ key: "none", build: () => element("li", { className: "nothing quiet" }, "Nobody and nothing is called so.") }] : []),
  ]);
}

function invitation({ group, name, by }) {
  const build = () => {
    const test = name || "discussion";
    const answer = (method, text, after, className) => action(text, `${method}-${test}`, async () => {
      await chat.call(`groups.${method}`, { group });
      await loadInvitations();
      await after?.();
    }, { className });
    return element("li", { className: "invitation" },
      element("span", {}, element("strong", {}, name || "A discussion"), element("br"),
        element("small", { className: "quiet" }, `${nameOf(by)} invites you`)),
      answer("accept", "Join", () => enterGroup(group), "main"), answer("decline", "No, thanks"));
  };
  return { key: `invitation ${group}`, like: JSON.stringify([name, nameOf(by)]), build };
}

function talk(conversation) {
  const { id, writing } = conversation;
  const { unread } = chat.marks(id);
  const shown = {
    name: titleOf(conversation),
    line: writing.size > 0 ? writes(conversation) : lineOf(conversation) || "Nothing was said yet",
    time: timeOf(conversation),
    unread,
    mentions: unseen(conversation),
    open: conversation === current,
    muted: groupOf(id)?.notify === "none",
  };
  return {
    key: id,
    like: JSON.stringify([shown, looksOf(conversation)]),
    build: () => entry(shown, faceOf(conversation), `${isDirect(conversation) ? "person" : "group"}-${shown.name}`,
      () => attempt(() => open(conversation))),
  };
}

/** Says who is writing. */
export function writes(conversation) {
  const writing = [...conversation.writing];
  if (isDirect(conversation)) return "is writing…";
  return writing.length > 3 ? "Several people are writing…" : `${naming(writing)} ${writing.length > 1 ? "are" : "is"} writing…`;
}

const stranger = (actor) => ({
  key: actor,
  like: JSON.stringify(looks(actor)),
  build: () => entry({ name: nameOf(actor), line: "Say hello" }, face(actor), `person-${nameOf(actor)}`,
    () => attempt(() => talkTo(actor))),
});

/** Of today the time, of this week the day, else the date. */
function when(time) {
  const age = (new Date().setHours(24, 0, 0, 0) - time) / 86_400_000;
  if (age <= 1) return clock(time);
  return new Date(time).toLocaleDateString([], age <= 6 ? { weekday: "short" } : { day: "numeric", month: "short" });
}

function entry({ name, line, time, unread = 0, mentions = 0, open = false, muted = false }, picture, test, onclick) {
  const node = element("button", { onclick, className: muted ? "muted" : "" },
    picture,
    element("span", { className: "name" }, name),
    time ? element("time", {}, when(time)) : null,
    element("span", { className: "last" }, line),
    element("span", { className: "badges" },
      mentions > 0 ? badge("@", "mentions", `${mentions} mention you`, "at") : null,
      unread > 0 ? badge(unread < 100 ? String(unread) : "99+", "unread", `${unread} unread`) : null),
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
