// The panel beside the conversation: profiles, groups, settings. Pages are opened on top of each other.

import { $, attempt, element } from "./dom.js";

const stack = [];
let drawing = 0;
let opener = null;

/**
 * Opens a page.
 *
 * @param page {title, test, build: (body) => void or a promise}: `build` fills an empty node, and is called again by `redrawPanel`
 */
export function openPanel(page) {
  if (stack.length === 0) opener = document.activeElement;
  if (stack.at(-1)?.test === page.test) stack.pop();
  stack.push(page);
  void draw(true);
}

/** Opens a page with nothing below it. */
export function startPanel(page) {
  stack.length = 0;
  openPanel(page);
}

export function backInPanel() {
  stack.pop();
  if (stack.length === 0) closePanel();
  else void draw(true);
}

export function closePanel() {
  stack.length = 0;
  drawing += 1;
  $("panel").hidden = true;
  $("house").classList.remove("paneled");
  $("panel-body").replaceChildren();
  if (opener?.isConnected) opener.focus({ preventScroll: true });
}

export const shownPage = () => stack.at(-1)?.test;

/** Draws the page on top anew; only if it is one of these, if some are given. */
export function redrawPanel(...tests) {
  const page = stack.at(-1);
  if (page && (tests.length === 0 || tests.includes(page.test))) void draw(false);
}

async function draw(fresh) {
  const page = stack.at(-1);
  const turn = ++drawing;
  $("panel").hidden = false;
  $("house").classList.add("paneled");
  $("panel-back").hidden = stack.length < 2;
  if (fresh) {
    $("panel-title").textContent = page.title;
    $("panel").dataset.page = "";
    $("panel-body").replaceChildren(element("p", { className: "quiet loading" }, "…"));
    $("panel-title").focus({ preventScroll: true });
  }
  const body = element("div", { className: "page" });
  const done = await attempt(async () => {
    await page.build(body);
    return true;
  });
  // Another page was opened meanwhile, or this one drawn anew.
  if (turn !== drawing) return;
  if (!done && fresh) return backInPanel();
  if (!done) return;
  const [top, focused] = [$("panel-body").scrollTop, document.activeElement?.closest("#panel-body [data-test]")?.dataset.test];
  $("panel-body").replaceChildren(body);
  $("panel").dataset.page = page.test;
  $("panel-body").scrollTop = fresh ? 0 : top;
  if (focused && !fresh) $("panel-body").querySelector(`[data-test="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

$("panel-back").addEventListener("click", backInPanel);
$("panel-close").addEventListener("click", closePanel);
$("panel").addEventListener("keydown", (pressed) => {
  if (pressed.key !== "Escape" || pressed.defaultPrevented) return;
  pressed.preventDefault();
  backInPanel();
});
