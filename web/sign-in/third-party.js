// Sign-in with third parties (OpenID Connect): docs/plugins/users.md#Third-parties.

import { chat, signIn } from "../shell/session.js";

const KEPT = "courtyard.oidc";
const pause = (ms) => new Promise((over) => setTimeout(over, ms));

let pendingProviders;

/** Resolves with the providers of the server: {id, name}. */
export function providers() {
  pendingProviders ??= chat.call("users.oidc_providers").then(
    ({ providers }) => providers,
    (error) => {
      pendingProviders = undefined;
      if (error.retry) throw error;
      return [];
    },
  );
  return pendingProviders;
}

/** Redirects to a provider, which redirects back to this page. */
export async function beginThirdParty(provider, link = false) {
  const redirect = location.origin + location.pathname;
  let flow = await chat.call("users.oidc_start", { provider, redirect, device: deviceName(), ...(link && { link }) });
  const { state, ticket } = flow;
  while (!flow.url) {
    await pause(flow.poll_ms);
    flow = { poll_ms: flow.poll_ms, ...(await chat.call("users.oidc_result", { state, ticket })) };
    if (!flow.url && flow.stage !== "preparing")
      throw Object.assign(new Error("The sign-in could not be started. Try again."), { code: "page.oidc" });
  }
  // The ticket is in no URL: it binds the sign-in to this browser.
  sessionStorage.setItem(KEPT, JSON.stringify({ state, ticket, link, hash: location.hash }));
  location.assign(flow.url);
}

/** Returns the answer of a provider if it redirected here, and removes it from the address bar. */
function returned() {
  const query = new URLSearchParams(location.search);
  const state = query.get("state");
  if (!state) return undefined;
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  sessionStorage.removeItem(KEPT);
  history.replaceState(null, "", location.pathname + (kept?.hash ?? ""));
  if (kept?.state !== state) return { problem: "This sign-in was not started here. Start again." };
  const [code, iss] = [query.get("code"), query.get("iss")];
  if (!code) return { problem: query.get("error_description") ?? "The sign-in was cancelled." };
  return { ...kept, code, iss };
}

export const comeBack = returned();

/** Finishes a sign-in. Resolves with true if it added a sign-in method to the account. */
export async function finishThirdParty({ state, ticket, code, iss }) {
  let result = await chat.call("users.oidc_finish", { state, ticket, code, ...(iss && { iss }) });
  while (result.stage === "exchanging") {
    await pause(result.poll_ms);
    result = await chat.call("users.oidc_result", { state, ticket });
  }
  if (result.session) await signIn(result.session);
  return result.stage === "linked";
}

/** Returns the name of this device for the list of sessions. */
export function deviceName() {
  const agent = navigator.userAgent;
  const browser =
    [
      ["Edg/", "Edge"],
      ["OPR/", "Opera"],
      ["Firefox/", "Firefox"],
      ["Chrome/", "Chrome"],
      ["Safari/", "Safari"],
    ].find(([sign]) => agent.includes(sign))?.[1] ?? "Browser";
  const system =
    [
      ["Android", "Android"],
      ["iPhone", "iPhone"],
      ["iPad", "iPad"],
      ["Windows", "Windows"],
      ["Mac OS", "Mac"],
      ["Linux", "Linux"],
    ].find(([sign]) => agent.includes(sign))?.[1] ?? "unknown system";
  return `${browser} on ${system}`;
}
