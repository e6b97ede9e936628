// What the page knows of people: names, pictures, who is there.

import { Latest, now } from "../client/latest.js";
import { chat } from "../shell/session.js";
import { element } from "../shell/dom.js";
import { changed, soon } from "../shell/bus.js";
import { pictureOf } from "../shell/pictures.js";

const people = new Map();
const presences = new Map();
const tell = soon(() => changed("people"));

/** As many as the users plugin takes at once. */
const MOST = 100;
/** After so long the page asks for names and pictures again. */
const STALE = 300_000;

/** People by their id, as many at a time as the users plugin takes. */
const profiles = new Latest(async (actors) => {
  const found = new Map((await chat.call("users.profiles", { actors })).people.map((person) => [person.actor, person]));
  // Closed accounts are not there any more.
  return actors.map((actor) => found.get(actor) ?? { display_name: "Somebody who left", ...people.get(actor), actor });
}, (person, actor) => {
  people.set(actor, { ...people.get(actor), ...person, asked: Date.now() });
  tell();
}, MOST);

/** Takes persons from an answer of the users plugin; `since` is the moment at which its request began. */
export function remember(persons, since) {
  for (const person of persons) profiles.offer(person.actor, person, since);
}

export { now };

export const personOf = (actor) => people.get(actor);

/** Returns what somebody is called here: the remark on a friend comes before the name they gave themselves. */
export function nameOf(actor) {
  const person = people.get(actor);
  return person?.remark || person?.display_name || "…";
}

/** Takes what the caller calls a friend. */
export function note(actor, remark) {
  people.set(actor, { ...people.get(actor), actor, remark });
  tell();
}

/** Asks for those who are not known yet, up to `most`. */
export async function learn(actors, most = 1_000) {
  const isFresh = (person) => person?.display_name && Date.now() - (person.asked ?? 0) < STALE;
  const unknown = [...new Set(actors)].filter((actor) => !isFresh(people.get(actor))).slice(0, most);
  await profiles.needAll(unknown);
}

/* Presence */

/** Returns how somebody is seen: {state, text, until_ms, last_seen_ms}. */
export function presenceOf(actor) {
  const presence = presences.get(actor) ?? { state: "offline" };
  const isOver = presence.until_ms && presence.until_ms <= Date.now();
  if (!isOver) return presence;
  return { ...presence, text: undefined, state: presence.state === "busy" ? "online" : presence.state };
}

const seen = new Latest(async (actors) => {
  const found = new Map((await chat.call("users.presence", { actors })).people.map((presence) => [presence.actor, presence]));
  return actors.map((actor) => found.get(actor));
}, (presence, actor) => {
  if (!presence) return;
  presences.set(actor, presence);
  tell();
}, MOST);

/** Asks how people are seen; friends tell changes by themselves. */
export const look = (actors) => seen.loadAll([...new Set(actors)].filter(Boolean));

chat.addEventListener("signal", ({ detail: { plugin, name, payload } }) => {
  if (plugin !== "users" || name !== "presence") return;
  if (payload.actor === chat.actor) return changed("self");
  seen.offer(payload.actor, payload);
  // When that was is not in the signal; and whoever is blocked looks the same.
  if (payload.state === "offline") look([payload.actor]).catch(() => {});
});

const STATES = { online: "online", idle: "away", busy: "busy", offline: "offline", invisible: "invisible" };

/** Says in a few words how somebody is seen, or nothing. */
export function wordsFor({ state, text, last_seen_ms }) {
  // Of those who are no friends nothing is known but that.
  const gone = last_seen_ms ? `last seen ${ago(last_seen_ms)}` : "";
  const word = state === "offline" ? gone : STATES[state] ?? state;
  return [word, text].filter(Boolean).join(" · ");
}

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

export function ago(time) {
  const seconds = Math.max(0, (Date.now() - time) / 1000);
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? [];
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });
  return unit ? format.format(-Math.floor(seconds / size), unit) : "just now";
}

/* Faces */

const shownName = (name) => name.trim() || "?";

/** Returns a picture of someone or something with this name: what `plugin` has under `picture`, or a letter. */
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

/** Returns the face of someone, with a dot for who is there if `dot` is set. */
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

/** Returns what of someone a face and a name depend on. */
export const looks = (actor, dot = false) =>
  [nameOf(actor), people.get(actor)?.avatar, dot && presenceOf(actor)];
