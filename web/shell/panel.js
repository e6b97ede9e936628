// The panel beside the conversation: a stack of pages for profiles, groups and settings.

import { $, attempt, element } from "./dom.js";

const stack = [];
let drawing = 0;
let opener = null;

/**
 * Opens a page.
 *
 * @param {{title: string, test: string, build: (body: HTMLElement) => unknown}} page `build` fills an empty node, if need be
 * asynchronously; `redrawPanel` calls it again
 */
export function openPanel(page) {
  if (stack.length === 0) opener = document.activeElement;
  if (stack.at(-1)?.test === page.test) stack.pop();
  stack.push(page);
  void draw(true);
}

/** Replaces the stack with one page. */
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
  $("shell").classList.remove("with-panel");
  $("panel-body").replaceChildren();
  if (opener?.isConnected) opener.focus({ preventScroll: true });
}

export const shownPage = () => stack.at(-1)?.test;

/** Redraws the top page. With arguments, only if its `test` is one of them. */
export function redrawPanel(...tests) {
  const page = stack.at(-1);
  if (page && (tests.length === 0 || tests.includes(page.test))) void draw(false);
}

async function draw(fresh) {
  const page = stack.at(-1);
  const turn = ++drawing;
  $("panel").hidden = false;
  $("shell").classList.add("with-panel");
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
  // A newer draw has begun: its requests are newer, too.
  if (turn !== drawing) return;
  if (!done && fresh) return backInPanel();
  if (!done) return;
  const [top, focused] = [
    $("panel-body").scrollTop,
    /** @type {HTMLElement | undefined} */ (document.activeElement?.closest("#panel-body [data-test]"))?.dataset.test,
  ];
  $("panel-body").replaceChildren(body);
  $("panel").dataset.page = page.test;
  $("panel-body").scrollTop = fresh ? 0 : top;
  if (focused && !fresh)
    $("panel-body")
      .querySelector(`[data-test="${CSS.escape(focused)}"]`)
      ?.focus({ preventScroll: true });
}

$("panel-back").addEventListener("click", backInPanel);
$("panel-close").addEventListener("click", closePanel);
$("panel").addEventListener("keydown", (pressed) => {
  if (pressed.key !== "Escape" || pressed.defaultPrevented) return;
  pressed.preventDefault();
  backInPanel();
});
