// The connection to the server and the token of the signed-in user.

import { Courtyard } from "../client/courtyard.js";

const device = (localStorage.device ??= `web-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`);

/** The client. Untyped, because answers and signals of plugins have no types. @type {any} */
export const chat = new Courtyard({ url: location.origin.replace(/^http/, "ws") + "/v1/ws", device });
globalThis.chat = chat;

/** Returns the token of the signed-in user, or undefined. */
export const token = () => localStorage.token;

/** Signs in with the session that a method of the users plugin returned. */
export async function signIn({ token }) {
  localStorage.token = token;
  await chat.auth(token);
}

/** Deletes the token and all data of the user on this page, and reloads it. */
export function endSession() {
  delete localStorage.token;
  localStorage.removeItem("courtyard.outbox");
  location.reload();
}
