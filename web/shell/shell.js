// What is shown of the page: the door or the house, and how the connection is.

import { $, tell } from "./dom.js";
import { chat, leave, token } from "./session.js";

const ENDED = "courtyard.ended";

chat.addEventListener("state", ({ detail: { state, retryAt, code } }) => {
  const signedIn = state === "online" || (token() && state !== "anonymous");
  $("door").hidden = Boolean(signedIn);
  $("house").hidden = !signedIn;
  showLink(state, retryAt, code);
  if (state === "ended") {
    sessionStorage.setItem(ENDED, "You were signed out here.");
    leave();
  }
});

// Why the door is shown again.
const ended = sessionStorage.getItem(ENDED);
sessionStorage.removeItem(ENDED);
if (ended) tell(ended, true);

function showLink(state, retryAt, code) {
  const text = state === "offline" && retryAt ? "No connection. Trying again soon." : null;
  $("link").hidden = text === null;
  $("link").firstElementChild.textContent = text ?? code ?? "";
}

$("link").querySelector("button").addEventListener("click", () => chat.connect());

addEventListener("unhandledrejection", (rejected) => {
  // The bar says so already, and what the page needs is asked for again with the next connection.
  if (rejected.reason?.code === "offline") rejected.preventDefault();
});
