// The list of contacts and contact requests.

import { Latest } from "../client/latest.js";
import { $, action, element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, on, batched } from "../shell/bus.js";
import { openDirect } from "../chat/conversations.js";
import { all } from "../groups/groups.js";
import { loadPresence, appearanceOf, nameOf, note, now, presenceOf, storePeople } from "./people.js";
import { heading, list, quiet } from "../shell/panel-widgets.js";
import { personRow } from "./person-row.js";
import { acts } from "../chat/message-list.js";
import { findPeople } from "../chat/conversation-list.js";

let friends = [];
let incomingRequests = [];
let outgoingRequests = [];
let tag = "";
let found = [];

export const friendOf = (actor) => friends.find(({ person }) => person.actor === actor);
export const friendActors = () => friends.map(({ person }) => person.actor);

const contacts = Latest.each(
  async () => {
    const since = now();
    const [accepted, incoming, outgoing] = await Promise.all([
      all("users.friends", {}, "friends"),
      all("users.friend_requests", { direction: "in" }, "requests"),
      all("users.friend_requests", { direction: "out" }, "requests"),
    ]);
    return { accepted, incoming, outgoing, since };
  },
  ({ accepted, incoming, outgoing, since }) => {
    const before = friendActors();
    [friends, incomingRequests, outgoingRequests] = [accepted, incoming, outgoing];
    storePeople(
      [...friends, ...incomingRequests, ...outgoingRequests].map(({ person }) => person),
      since,
    );
    for (const actor of before) if (!friendOf(actor)) note(actor, "");
    for (const { person, remark } of friends) note(person.actor, remark);
    $("request-count").textContent = String(incomingRequests.length);
    $("request-count").hidden = incomingRequests.length === 0;
    $("request-count").setAttribute("aria-label", `${incomingRequests.length} requests`);
    changed("contacts");
  },
);

/** Loads contacts and requests. */
export const loadContacts = () => contacts.load("contacts");

chat.addEventListener("state", async ({ detail: { state } }) => {
  if (state !== "online") return;
  await loadContacts();
  await loadPresence(friendActors());
});

chat.addEventListener("signal", async ({ detail: { plugin, name } }) => {
  if (plugin !== "users" || (name !== "friend" && name !== "block")) return;
  await loadContacts();
  await loadPresence(friendActors());
});

/* The list */

let shown = false;

function choose(contacts) {
  shown = contacts;
  $("show-conversations").setAttribute("aria-pressed", String(!contacts));
  $("show-contacts").setAttribute("aria-pressed", String(contacts));
  $("conversations").hidden = contacts;
  $("contacts").hidden = !contacts;
  $("search").placeholder = contacts ? "Search people" : "Search conversations and people";
  void refind();
}
$("show-conversations").addEventListener("click", () => choose(false));
$("show-contacts").addEventListener("click", () => choose(true));

const words = () => $("search").value.trim();
let typing;

const finding = Latest.each(
  async () => {
    const query = words();
    return { query, people: query && chat.state === "online" ? await findPeople(query) : [] };
  },
  ({ query, people }) => {
    if (query !== words()) return;
    found = people;
    draw();
  },
);

async function refind() {
  if (shown) await finding.load("people");
}
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => void refind(), 150);
});

on("contacts people", batched(draw));
on("open", () => void refind());

const RANKS = { online: 0, busy: 1, idle: 1 };
const rank = (actor) => RANKS[presenceOf(actor).state] ?? 2;
let drawn = "";

function draw() {
  if (!shown) return;
  const actors = [...friends, ...incomingRequests, ...outgoingRequests].map(({ person }) => person.actor).concat(found);
  const state = JSON.stringify([
    friends,
    incomingRequests,
    outgoingRequests,
    tag,
    found,
    words(),
    actors.map((actor) => appearanceOf(actor, true)),
  ]);
  if (state === drawn) return;
  drawn = state;
  const query = words().toLowerCase();
  const named = ({ person, remark = "" }) =>
    !query || [person.display_name, person.name, remark].some((name) => name.toLowerCase().includes(query));
  const wanted = friends.filter((friend) => named(friend) && (!tag || friend.tags.includes(tag)));
  wanted.sort(
    (left, right) =>
      rank(left.person.actor) - rank(right.person.actor) ||
      nameOf(left.person.actor).localeCompare(nameOf(right.person.actor)),
  );
  const known = new Set(friends.map(({ person }) => person.actor));
  const others = found.filter((actor) => !known.has(actor));
  $("contacts").replaceChildren(
    ...[
      ...(incomingRequests.length > 0
        ? [heading("Contact requests"), list(incomingRequests.map(incomingRow), "requests-in")]
        : []),
      ...(outgoingRequests.length > 0 && !query
        ? [heading("Sent requests"), list(outgoingRequests.map(waiting), "requests-out")]
        : []),
      tagBar(),
      heading("Contacts"),
      list(
        wanted.map(contactRow),
        "friends",
        friends.length === 0 ? "No contacts yet. Search for people above to add them." : "No matching contacts.",
      ),
      ...(others.length > 0 ? [heading("People"), list(others.map(foundRow), "strangers")] : []),
      ...(query && others.length === 0 && wanted.length === 0 ? [quiet("No results.")] : []),
    ].filter(Boolean),
  );
}

const show = (actor) => () => acts.openPerson(actor);

function answer(text, test, method, actor, attributes) {
  return action(
    text,
    `${test}-${nameOf(actor)}`,
    async () => {
      await chat.call(method, { actor });
      await loadContacts();
      await loadPresence([actor]);
    },
    attributes,
  );
}

function incomingRow({ person: { actor }, text }) {
  return personRow(actor, {
    line: text || "wants to add you as a contact",
    onclick: show(actor),
    dot: false,
    test: `asking-${nameOf(actor)}`,
    actions: [
      answer("Accept", "accept", "users.accept_friend", actor, { className: "main small" }),
      answer("Decline", "refuse", "users.refuse_friend", actor, { className: "small" }),
    ],
  });
}

function waiting({ person: { actor } }) {
  return personRow(actor, {
    line: "request pending",
    onclick: show(actor),
    dot: false,
    test: `asked-${nameOf(actor)}`,
    actions: [answer("Cancel request", "withdraw", "users.withdraw_friend", actor, { className: "small" })],
  });
}

function contactRow({ person: { actor }, tags }) {
  const write = action("💬", `write-${nameOf(actor)}`, () => openDirect(actor), { className: "round plain" });
  write.setAttribute("aria-label", `Write to ${nameOf(actor)}`);
  return personRow(actor, { onclick: show(actor), tags, test: `friend-${nameOf(actor)}`, actions: [write] });
}

const foundRow = (actor) =>
  personRow(actor, { line: "", dot: false, onclick: show(actor), test: `found-${nameOf(actor)}` });

function tagBar() {
  const tags = [...new Set(friends.flatMap((friend) => friend.tags))].sort();
  if (tags.length === 0) return null;
  return element(
    "div",
    { className: "tags" },
    ...["", ...tags].map((one) => {
      const node = element(
        "button",
        {
          type: "button",
          className: "tag",
          onclick: () => {
            tag = one;
            draw();
          },
        },
        one || "All",
      );
      node.dataset.test = `tag-${one || "all"}`;
      node.setAttribute("aria-pressed", String(one === tag));
      return node;
    }),
  );
}
