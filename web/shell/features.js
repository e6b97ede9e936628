// Hides controls of plugins that the server does not have.

import { Latest } from "../client/latest.js";
import { chat } from "./session.js";

/** Shows nodes while the server has a method. The method is called with each connection to find out. */
export function showIfOffered(method, ...nodes) {
  for (const node of nodes) node.hidden = true;
  const offer = Latest.each(
    () =>
      chat.call(method).then(
        () => true,
        ({ code }) => code !== "unknown_method",
      ),
    (exists) => {
      for (const node of nodes) node.hidden = !exists;
    },
  );
  chat.addEventListener("state", ({ detail: { state } }) => {
    if (state === "online") void offer.load(method);
  });
}
