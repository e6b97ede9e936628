// Building blocks for the pages of the panel.

import { action, attempt, busy, element, showNotice } from "./dom.js";
import { confirmed } from "./dialog.js";

export { action };

let number = 0;

/** Returns an input, textarea or select with a label, an optional hint and a hook for tests. */
export function field(label, input, test, hint) {
  input.id ||= `field-${++number}`;
  if (test) input.dataset.test = test;
  const node = element("div", { className: "field" }, element("label", { htmlFor: input.id }, label), input);
  if (hint) {
    const small = element("small", { className: "quiet", id: `${input.id}-hint` }, hint);
    input.setAttribute("aria-describedby", small.id);
    node.append(small);
  }
  return node;
}

export const input = (attributes = {}) => element("input", { type: "text", autocomplete: "off", ...attributes });
export const area = (attributes = {}) => element("textarea", { rows: 3, ...attributes });

/** Returns a select; `options` are [value, text]. */
export function choice(options, value) {
  const node = element("select", {}, ...options.map(([value, text]) => element("option", { value }, text)));
  node.value = value;
  return node;
}

/** Returns a checkbox and the label around it. */
export function checkbox(label, test, checked, disabled = false) {
  const box = element("input", { type: "checkbox", checked, disabled });
  if (test) box.dataset.test = test;
  return { box, node: element("label", { className: "tick" }, box, element("span", {}, label)) };
}

/** Returns a form that runs a function on submit. It shows the error, or the notice `done`. */
export function form(test, submit, parts, run, done) {
  const node = element("form", { className: "form" }, ...parts, element("button", { className: "main" }, submit));
  node.dataset.test = test;
  node.lastElementChild.dataset.test = `${test}-submit`;
  node.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    await busy(node.lastElementChild, () =>
      attempt(async () => {
        await run(node);
        if (done) showNotice(done, true);
      }),
    );
  });
  return node;
}

export const heading = (text) => element("h3", {}, text);
export const lines = (text) => element("p", { className: "lines" }, text);
export const quiet = (text, test) => {
  const node = element("p", { className: "quiet" }, text);
  if (test) node.dataset.test = test;
  return node;
};

/** Returns a row of buttons. */
export const buttons = (...nodes) => element("div", { className: "buttons" }, ...nodes);

/** Returns a button for an action that can't be undone: a dialog asks the question first. */
export const dangerButton = (text, question, test, run) =>
  action(
    text,
    test,
    async () => {
      if (await confirmed(question, text, test)) await run();
    },
    { className: "danger" },
  );

/**
 * Returns a row that opens another page.
 *
 * @param {string} text
 * @param {string} test
 * @param {() => void} onclick
 * @param {{note?: string, icon?: string, badge?: number}} options
 */
export function entry(text, test, onclick, { note, icon, badge } = {}) {
  const node = element(
    "button",
    { type: "button", className: "entry", onclick },
    icon ? element("span", { className: "icon", ariaHidden: "true" }, icon) : null,
    element("span", {}, text, note ? element("small", { className: "quiet" }, note) : null),
    badge
      ? element("span", { className: "badge" }, String(badge))
      : element("span", { className: "quiet", ariaHidden: "true" }, "›"),
  );
  node.dataset.test = test;
  return node;
}

/** Returns a list of nodes, or the text `none` if it is empty. */
export function list(rows, test, none) {
  if (rows.length === 0 && none) return quiet(none, test);
  const node = element("ul", { className: "rows" }, ...rows.map((row) => element("li", {}, row)));
  if (test) node.dataset.test = test;
  return node;
}

/** Resolves with a list that loads in pages: `load(after)` → {rows, next}. */
export function paged(test, load, none) {
  const rows = element("ul", { className: "rows" });
  rows.dataset.test = test;
  const more = action("Show more", `${test}-more`, () => page(more.after), { hidden: true });
  async function page(after) {
    const { rows: found, next } = await load(after);
    rows.append(...found.map((row) => element("li", {}, row)));
    more.after = next;
    more.hidden = next === undefined || next === null;
    if (rows.childElementCount === 0 && more.hidden && none) rows.replaceWith(quiet(none, test));
  }
  const node = element("div", {}, rows, more);
  return page(undefined).then(() => node);
}
