// The dialog before actions that can't be undone.

import { button, element } from "./dom.js";

/**
 * Asks a question in a modal dialog: `yes` labels the button that confirms, whose hook for tests is `${test}-confirm`.
 * Resolves with true if somebody confirms, with false after Cancel, Escape or a click outside of the dialog.
 *
 * Its state is in the dialog alone and doesn't depend on the focus or on redraws of the page.
 */
export function confirmed(question, yes, test) {
  const words = element("p", { id: "question" }, question);
  const dialog = element(
    "dialog",
    { className: "question" },
    words,
    element(
      "div",
      { className: "buttons" },
      button("Cancel", `${test}-cancel`, () => dialog.close()),
      button(yes, `${test}-confirm`, () => dialog.close("yes"), { className: "danger" }),
    ),
  );
  dialog.setAttribute("role", "alertdialog");
  dialog.setAttribute("aria-labelledby", words.id);
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  // Escape belongs to the dialog alone, not to the panel below it.
  dialog.addEventListener("keydown", (pressed) => pressed.stopPropagation());
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((answered) =>
    dialog.addEventListener(
      "close",
      () => {
        dialog.remove();
        answered(dialog.returnValue === "yes");
      },
      { once: true },
    ),
  );
}
