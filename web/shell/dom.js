// Small things that all parts of the page do with nodes.

export const $ = (id) => document.getElementById(id);

/** Makes a node with properties and children; children that are null are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Makes a button that says what it does; `test` is the hook for tests. */
export function button(text, test, onclick, attributes = {}) {
  const node = element("button", { type: "button", onclick, ...attributes }, text);
  if (test) node.dataset.test = test;
  return node;
}

// Made once: to make one takes longer than everything else about a message.
const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });

export const clock = (time) => CLOCK.format(time);
export const day = (time) => DAY.format(time);

let telling;

/** Says something for a while: what was refused, or what was done if `good`. */
export function tell(text, good = false) {
  clearTimeout(telling);
  $("notice").textContent = text;
  $("notice").classList.toggle("good", good);
  $("notice").hidden = false;
  telling = setTimeout(() => ($("notice").hidden = true), 6000);
}

/** Does something that may be refused, and says why if it is. Returns what it returns, or undefined. */
export async function attempt(run) {
  try {
    return await run();
  } catch (error) {
    if (!error.code) throw error;
    tell(error.message);
    return undefined;
  }
}

/**
 * Runs something for a control that is not busy, and marks it as busy meanwhile. The control isn't disabled, and so keeps the
 * focus: browsers differ in when a disabled control loses it, and in the events of that.
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

/** A button that does something that may be refused. */
export function action(text, test, run, attributes = {}) {
  const node = button(text, test, () => busy(node, () => attempt(run)), attributes);
  return node;
}

/**
 * Makes the children of a list those that are wanted, and leaves alone what is the same: the focus stays where it is.
 *
 * @param wanted [{key, like, build}]: a child is built anew when its `like` is another one. What can have the focus in it
 * has a name in `data-part`.
 */
export function patch(list, wanted) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
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
