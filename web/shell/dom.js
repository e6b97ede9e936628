// Nodes, formats and notices for all parts of the page.

/** Returns the node with this id. @returns {any} */
export const $ = (id) => document.getElementById(id);

/** Returns a new element with properties and children; null children are skipped. @returns {any} */
export function element(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Returns a button; `test` is its hook for tests. */
export function button(text, test, onclick, attributes = {}) {
  const node = element("button", { type: "button", onclick, ...attributes }, text);
  if (test) node.dataset.test = test;
  return node;
}

// Shared: constructing a format takes longer than drawing a message.
const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });

export const clock = (time) => CLOCK.format(time);
export const day = (time) => DAY.format(time);

let telling;

/** Shows a notice for 6 seconds: an error, or a success if `good`. */
export function showNotice(text, good = false) {
  clearTimeout(telling);
  $("notice").textContent = text;
  $("notice").classList.toggle("good", good);
  $("notice").hidden = false;
  telling = setTimeout(() => ($("notice").hidden = true), 6000);
}

/** Runs a function and returns its result. An error with a code is shown as a notice; the result is then undefined. */
export async function attempt(run) {
  try {
    return await run();
  } catch (error) {
    if (!error.code) throw error;
    showNotice(error.message);
    return undefined;
  }
}

/**
 * Runs a function unless the control is busy, and marks the control as busy meanwhile. The control isn't disabled, so it keeps
 * the focus: browsers differ in when a disabled control loses it, and in the events that they fire.
 */
export async function busy(node, run) {
  if (node.ariaDisabled === "true") return;
  node.ariaDisabled = "true";
  try {
    await run();
  } finally {
    node.ariaDisabled = null;
  }
}

/** Returns a button that runs a function and shows its error as a notice. */
export function action(text, test, run, attributes = {}) {
  const node = button(text, test, () => busy(node, () => attempt(run)), attributes);
  return node;
}

/**
 * Updates the children of a list. Unchanged children stay in place, and the focus is kept.
 *
 * @param wanted [{key, like, build}]: a child is rebuilt when its `like` changes. Nodes that can have the focus have a name in
 * `data-part`.
 */
export function patch(list, wanted) {
  const focused = /** @type {any} */ (list.contains(document.activeElement) ? document.activeElement : null);
  const place = [focused?.closest("li")?.rowKey, focused?.dataset.part];
  const known = new Map([...list.children].map((node) => [node.rowKey, node]));
  let at = list.firstElementChild;
  for (const { key, like, build } of wanted) {
    const old = known.get(key);
    known.delete(key);
    const node = old && old.like === like ? old : Object.assign(build(), { rowKey: key, like });
    if (node === at) {
      at = at.nextElementSibling;
      continue;
    }
    list.insertBefore(node, at);
    if (old && old !== node) {
      if (old === at) at = at.nextElementSibling;
      old.remove();
    }
  }
  for (const node of known.values()) node.remove();
  if (!focused || focused.isConnected) return;
  const again = [...list.children].find((node) => node.rowKey === place[0]);
  const part = [...(again?.querySelectorAll("[data-part]") ?? [])].find((node) => node.dataset.part === place[1]);
  (part ?? again?.querySelector("[data-part]") ?? list).focus({ preventScroll: true });
}
