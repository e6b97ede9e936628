// Shows the sign-in page or the app, and the state of the connection.

import { $, showNotice } from "./dom.js";
import { chat, endSession, token } from "./session.js";

const ENDED = "courtyard.ended";

chat.addEventListener("state", ({ detail: { state, retryAt, code } }) => {
  const signedIn = state === "online" || (token() && state !== "anonymous");
  $("sign-in").hidden = Boolean(signedIn);
  $("shell").hidden = !signedIn;
  showConnection(state, retryAt, code);
  if (state === "ended") {
    sessionStorage.setItem(ENDED, "You were logged out on this device.");
    endSession();
  }
});

// The reason for the sign-in page, kept across the reload.
const ended = sessionStorage.getItem(ENDED);
sessionStorage.removeItem(ENDED);
if (ended) showNotice(ended, true);

function showConnection(state, retryAt, code) {
  const text = state === "offline" && retryAt ? "No connection. Reconnecting…" : null;
  $("connection").hidden = text === null;
  $("connection").firstElementChild.textContent = text ?? code ?? "";
}

$("connection")
  .querySelector("button")
  .addEventListener("click", () => chat.connect());

addEventListener("unhandledrejection", (rejected) => {
  // The connection bar reports it, and the next connection loads the data again.
  if (rejected.reason?.code === "offline") rejected.preventDefault();
});
