// What the server offers: a plugin that is not there is not shown.

import { Latest } from "../client/latest.js";
import { chat } from "./session.js";

/** Shows nodes as long as the server has the plugin of a method, which is called for nothing but that. */
export function offered(method, ...nodes) {
  for (const node of nodes) node.hidden = true;
  const offer = Latest.each(() => chat.call(method).then(() => true, ({ code }) => code !== "unknown_method"), (exists) => {
    for (const node of nodes) node.hidden = !exists;
  });
  chat.addEventListener("state", ({ detail: { state } }) => {
    if (state === "online") void offer.load(method);
  });
}
