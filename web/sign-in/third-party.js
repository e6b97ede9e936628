// Signing in by a third party (OpenID Connect): docs/plugins/users.md#Third-parties.

import { chat, enter } from "../shell/session.js";

const KEPT = "courtyard.oidc";
const pause = (ms) => new Promise((over) => setTimeout(over, ms));

let asked;

/** Returns the third parties that the server knows: {id, name}. */
export function providers() {
  asked ??= chat.call("users.oidc_providers").then(({ providers }) => providers, (error) => {
    asked = undefined;
    if (error.retry) throw error;
    return [];
  });
  return asked;
}

/** Sends whoever is here to a third party, which sends them back to this page. */
export async function beginThirdParty(provider, link = false) {
  const redirect = location.origin + location.pathname;
  let flow = await chat.call("users.oidc_start", { provider, redirect, device: deviceName(), ...(link && { link }) });
  const { state, ticket } = flow;
  while (!flow.url) {
    await pause(flow.poll_ms);
    flow = { poll_ms: flow.poll_ms, ...(await chat.call("users.oidc_result", { state, ticket })) };
    if (!flow.url && flow.stage !== "preparing") throw Object.assign(new Error("The sign-in could not begin."), { code: "page.oidc" });
  }
  // What stands in no URL is what makes the sign-in this page's own.
  sessionStorage.setItem(KEPT, JSON.stringify({ state, ticket, link, hash: location.hash }));
  location.assign(flow.url);
}

/** Returns what a third party sent back, if this page is loaded because of that; the address bar forgets it. */
function returned() {
  const query = new URLSearchParams(location.search);
  const state = query.get("state");
  if (!state) return undefined;
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  sessionStorage.removeItem(KEPT);
  history.replaceState(null, "", location.pathname + (kept?.hash ?? ""));
  if (kept?.state !== state) return { problem: "This sign-in was not begun here. Begin again." };
  const [code, iss] = [query.get("code"), query.get("iss")];
  if (!code) return { problem: query.get("error_description") ?? "The sign-in was broken off." };
  return { ...kept, code, iss };
}

export const comeBack = returned();

/** Finishes a sign-in that a third party sent back. Returns whether it was one that adds to an account. */
export async function finishThirdParty({ state, ticket, code, iss }) {
  let result = await chat.call("users.oidc_finish", { state, ticket, code, ...(iss && { iss }) });
  while (result.stage === "exchanging") {
    await pause(result.poll_ms);
    result = await chat.call("users.oidc_result", { state, ticket });
  }
  if (result.session) await enter(result.session);
  return result.stage === "linked";
}

/** What this device is called among one's sessions. */
export function deviceName() {
  const agent = navigator.userAgent;
  const browser = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]]
    .find(([sign]) => agent.includes(sign))?.[1] ?? "Browser";
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "Mac"], ["Linux", "Linux"]]
    .find(([sign]) => agent.includes(sign))?.[1] ?? "a device";
  return `${browser} on ${system}`;
}
