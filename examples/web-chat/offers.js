// What the server offers: a plugin that is not there is not shown.

import { chat } from "./session.js";

/** Shows nodes as long as the server has the plugin of a method, which is called for nothing but that. */
export function offered(method, ...nodes) {
  for (const node of nodes) node.hidden = true;
  chat.addEventListener("state", async ({ detail: { state } }) => {
    if (state !== "online") return;
    const isThere = await chat.call(method).then(() => true, ({ code }) => code !== "unknown_method");
    for (const node of nodes) node.hidden = !isThere;
  });
}
