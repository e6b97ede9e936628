// A popup menu at a button.

import { $, button } from "./dom.js";

/** Opens a menu at a node. `entries`: {text, test, run, danger?}. */
export function openPopupMenu(at, label, entries) {
  const menu = $("popup-menu");
  menu.setAttribute("aria-label", label);
  menu.replaceChildren(
    ...entries.map(({ text, test, run, danger }) => {
      const node = button(
        text,
        test,
        () => {
          menu.hidePopover();
          at.focus({ preventScroll: true });
          run();
        },
        { className: danger ? "danger" : "" },
      );
      node.setAttribute("role", "menuitem");
      return node;
    }),
  );
  menu.showPopover();
  const place = at.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  menu.style.left = `${Math.max(8, Math.min(place.left, innerWidth - width - 8))}px`;
  menu.style.top = `${place.bottom + height + 8 > innerHeight ? Math.max(8, place.top - height - 4) : place.bottom + 4}px`;
  menu.firstElementChild?.focus({ preventScroll: true });
}

$("popup-menu").addEventListener("keydown", (pressed) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
  if (!step) return;
  pressed.preventDefault();
  const buttons = [...$("popup-menu").querySelectorAll("button")];
  buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length).focus();
});
