// What the page knows of people.

import { chat } from "./session.js";
import { element } from "./dom.js";

const people = new Map();

/** Takes persons as the users plugin returns them. */
export function remember(persons) {
  for (const person of persons) people.set(person.actor, { ...people.get(person.actor), ...person });
}

export const nameOf = (actor) => people.get(actor)?.display_name ?? "…";

/** Asks for those who are not known yet. */
export async function learn(actors) {
  const unknown = [...new Set(actors)].filter((actor) => !people.has(actor)).slice(0, 100);
  if (unknown.length === 0) return;
  remember((await chat.call("users.profiles", { actors: unknown })).people);
}

/** Makes a node the picture of someone or something with this name. */
export function portray(node, name) {
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  node.classList.add("avatar");
  node.textContent = name.slice(0, 1).toUpperCase();
  node.style.background = `hsl(${hue} 45% 45%)`;
  return node;
}

export const portrait = (name) => portray(element("span"), name);
