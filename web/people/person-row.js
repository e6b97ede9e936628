// The row of a person in lists of the panel.

import { element } from "../shell/dom.js";
import { face, nameOf, presenceOf, presenceText } from "./people.js";

/**
 * Returns a row with the face and the name of a person, a line of text and buttons.
 *
 * @param {string} actor
 * @param {{line?: string, onclick?: () => void, actions?: Node[], test?: string, dot?: boolean, tags?: string[]}} options
 */
export function personRow(actor, { line, onclick, actions = [], test, dot = true, tags = [] } = {}) {
  const words = line ?? (dot ? presenceText(presenceOf(actor)) : "");
  const name = element(
    "span",
    { className: "who" },
    element(
      "span",
      { className: "name" },
      nameOf(actor),
      ...tags.map((tag) => element("span", { className: "tag" }, tag)),
    ),
    words ? element("small", { className: "quiet" }, words) : null,
  );
  const main = onclick
    ? element("button", { type: "button", className: "plain person", onclick }, face(actor, dot), name)
    : element("span", { className: "person" }, face(actor, dot), name);
  const row = element("div", { className: "row" }, main, ...actions);
  row.dataset.test = test ?? `row-${nameOf(actor)}`;
  return row;
}
