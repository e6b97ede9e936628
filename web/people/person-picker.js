// Choosing several people: contacts first, others by search.

import { Latest } from "../client/latest.js";
import { element } from "../shell/dom.js";
import { friendActors } from "./contacts.js";
import { conversations, partnerOf } from "../chat/conversations.js";
import { face, nameOf } from "./people.js";
import { field, input } from "../shell/panel-widgets.js";
import { findPeople } from "../chat/conversation-list.js";

const MOST = 50;
let number = 0;

/** Returns {node, chosen(), clear()} for choosing people. `without` are not offered. */
export function picker(test, without = []) {
  const left = new Set(without);
  const chosen = new Set();
  const search = input({ type: "search", placeholder: "Search people" });
  const tokens = element("div", { className: "tokens" });
  const rows = element("ul", { className: "rows picks" });
  const group = `picker-${++number}`;
  let typing;

  function usual() {
    const partners = [...conversations.values()].map(partnerOf).filter(Boolean);
    return [...new Set([...friendActors(), ...partners])].sort((one, other) =>
      nameOf(one).localeCompare(nameOf(other)),
    );
  }

  const found = Latest.each(
    async () => (search.value.trim() ? findPeople(search.value.trim()) : usual()),
    (actors) => {
      rows.replaceChildren(
        ...actors
          .filter((actor) => !left.has(actor))
          .slice(0, MOST)
          .map(row),
      );
      tokens.replaceChildren(...[...chosen].map(token));
    },
  );
  const draw = () => found.load("people");

  function row(actor) {
    const box = element("input", { type: "checkbox", checked: chosen.has(actor), name: group });
    box.dataset.test = `pick-${nameOf(actor)}`;
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(actor);
      else chosen.delete(actor);
      tokens.replaceChildren(...[...chosen].map(token));
    });
    return element(
      "li",
      {},
      element("label", { className: "pick" }, box, face(actor, true), element("span", {}, nameOf(actor))),
    );
  }

  function token(actor) {
    const node = element(
      "button",
      {
        type: "button",
        className: "tag",
        title: "Remove",
        onclick: () => {
          chosen.delete(actor);
          void draw();
        },
      },
      `${nameOf(actor)} ✕`,
    );
    node.setAttribute("aria-label", `Remove ${nameOf(actor)}`);
    return node;
  }

  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(draw, 150);
  });
  search.addEventListener("keydown", (pressed) => {
    // Enter must not submit the form.
    if (pressed.key === "Enter") pressed.preventDefault();
  });
  void draw();
  return {
    node: element("div", { className: "picker" }, field("People", search, `${test}-search`), tokens, rows),
    chosen: () => [...chosen],
    clear() {
      for (const actor of chosen) left.add(actor);
      chosen.clear();
      search.value = "";
      void draw();
    },
  };
}
