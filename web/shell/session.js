// The connection to the server, and who is signed in.

import { Courtyard } from "../client/courtyard.js";

const device = (localStorage.device ??= `web-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`);

export const chat = new Courtyard({ url: location.origin.replace(/^http/, "ws") + "/v1/ws", device });
globalThis.chat = chat;

/** The token of whoever is signed in, if somebody is. */
export const token = () => localStorage.token;

/** Signs in with what a method of the users plugin gave out. */
export async function enter({ token }) {
  localStorage.token = token;
  await chat.auth(token);
}

/** Forgets who was signed in, with all that the page has of them. */
export function leave() {
  delete localStorage.token;
  localStorage.removeItem("courtyard.outbox");
  location.reload();
}
