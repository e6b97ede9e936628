// People: names, pictures and presence.

import { Latest, now } from "../client/latest.js";
import { chat } from "../shell/session.js";
import { element } from "../shell/dom.js";
import { changed, batched } from "../shell/bus.js";
import { pictureOf } from "../shell/pictures.js";

/** The name of an account that was closed. */
export const CLOSED_ACCOUNT = "Deleted account";

const people = new Map();
const presences = new Map();
const peopleChanged = batched(() => changed("people"));

/** People in one request, the limit of the users plugin. */
const MOST = 100;
/** Milliseconds after which names and pictures are loaded again. */
const STALE = 300_000;

/** Loads profiles by actor. */
const profiles = new Latest(
  async (actors) => {
    const found = new Map(
      (await chat.call("users.profiles", { actors })).people.map((person) => [person.actor, person]),
    );
    // The answer has no closed accounts.
    return actors.map((actor) => found.get(actor) ?? { display_name: CLOSED_ACCOUNT, ...people.get(actor), actor });
  },
  (person, actor) => {
    people.set(actor, { ...people.get(actor), ...person, asked: Date.now() });
    peopleChanged();
  },
  MOST,
);

/** Stores persons from an answer of the users plugin whose request began at the moment `since`. */
export function storePeople(persons, since) {
  for (const person of persons) profiles.offer(person.actor, person, since);
}

export { now };

export const personOf = (actor) => people.get(actor);

/** Returns the name to show for a person: the nickname, else the display name, else "…". */
export function nameOf(actor) {
  const person = people.get(actor);
  return person?.remark || person?.display_name || "…";
}

/** Stores the nickname of a contact. */
export function note(actor, remark) {
  people.set(actor, { ...people.get(actor), actor, remark });
  peopleChanged();
}

/** Loads people who are unknown or stale, up to `most`. */
export async function loadPeople(actors, most = 1_000) {
  const isFresh = (person) => person?.display_name && Date.now() - (person.asked ?? 0) < STALE;
  const unknown = [...new Set(actors)].filter((actor) => !isFresh(people.get(actor))).slice(0, most);
  await profiles.needAll(unknown);
}

/* Presence */

/** Returns the presence of a person: {state, text, until_ms, last_seen_ms}. */
export function presenceOf(actor) {
  const presence = presences.get(actor) ?? { state: "offline" };
  const isOver = presence.until_ms && presence.until_ms <= Date.now();
  if (!isOver) return presence;
  return { ...presence, text: undefined, state: presence.state === "busy" ? "online" : presence.state };
}

const seen = new Latest(
  async (actors) => {
    const found = new Map(
      (await chat.call("users.presence", { actors })).people.map((presence) => [presence.actor, presence]),
    );
    return actors.map((actor) => found.get(actor));
  },
  (presence, actor) => {
    if (!presence) return;
    presences.set(actor, presence);
    peopleChanged();
  },
  MOST,
);

/** Loads the presence of people. Changes of contacts arrive as signals. */
export const loadPresence = (actors) => seen.loadAll([...new Set(actors)].filter(Boolean));

chat.addEventListener("signal", ({ detail: { plugin, name, payload } }) => {
  if (plugin !== "users" || name !== "presence") return;
  if (payload.actor === chat.actor) return changed("self");
  seen.offer(payload.actor, payload);
  // The signal has no `last_seen_ms`, and a block looks the same.
  if (payload.state === "offline") loadPresence([payload.actor]).catch(() => {});
});

const STATES = { online: "online", idle: "away", busy: "busy", offline: "offline", invisible: "invisible" };

/** Returns a presence as text, empty if there is nothing to show. */
export function presenceText({ state, text, last_seen_ms }) {
  // People who are no contacts have only a state.
  const gone = last_seen_ms ? `last seen ${ago(last_seen_ms)}` : "";
  const word = state === "offline" ? gone : (STATES[state] ?? state);
  return [word, text].filter(Boolean).join(" · ");
}

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export function ago(time) {
  const seconds = Math.max(0, (Date.now() - time) / 1000);
  const [unit, size = 1] = UNITS.find(([, size]) => seconds >= size) ?? [];
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
  return unit ? format.format(-Math.floor(seconds / size), unit) : "just now";
}

/* Faces */

const shownName = (name) => name.trim() || "?";

/**
 * Returns a portrait: the picture of `plugin`, or the first letter of the name.
 *
 * @param {string} name
 * @param {{plugin?: string, picture?: string, shape?: string}} options
 */
export function portrait(name, { plugin = "users", picture, shape = "" } = {}) {
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  const node = element("span", { className: `avatar ${shape}` }, [...shownName(name)][0].toUpperCase());
  node.style.background = `hsl(${hue} 42% 42%)`;
  if (picture) void show(node, plugin, picture);
  return node;
}

async function show(node, plugin, picture) {
  const url = await pictureOf(plugin, picture);
  if (!url) return;
  node.textContent = "";
  node.style.background = `center / cover url("${url}")`;
}

/** Returns the face of a person; with `dot`, it has a presence dot. */
export function face(actor, dot = false) {
  const node = element("span", { className: "face" }, portrait(nameOf(actor), { picture: people.get(actor)?.avatar }));
  const { state } = dot ? presenceOf(actor) : {};
  if (dot && state !== "offline") {
    const mark = element("span", { className: `dot ${state}`, role: "img" });
    mark.setAttribute("aria-label", STATES[state]);
    node.append(mark);
  }
  return node;
}

/** Returns the values that the face and the name of a person depend on. */
export const appearanceOf = (actor, dot = false) => [
  nameOf(actor),
  people.get(actor)?.avatar,
  dot && presenceOf(actor),
];
