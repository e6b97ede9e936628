// Sign-in by password, by code and by third parties.

import { $, attempt, button, showNotice } from "../shell/dom.js";
import { chat, signIn } from "../shell/session.js";
import { codeSentence } from "./code.js";
import { beginThirdParty, comeBack, deviceName, finishThirdParty, providers } from "./third-party.js";

/** @type {HTMLElement} */
const problem = document.querySelector("[data-test=problem]");
const part = (name) => $("coded").querySelector(`[data-part=${name}]`);

function complain(error) {
  problem.hidden = !error;
  problem.textContent = error?.message ?? "";
  problem.dataset.code = error?.code ?? "";
}

/** Runs one step of the sign-in and shows its error. */
async function step(run) {
  complain();
  try {
    await run();
  } catch (error) {
    complain(error);
  }
}

/* Name and password */

$("sign").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const method = submitted.submitter?.value ?? "login";
  const { name, password } = Object.fromEntries(new FormData($("sign")));
  void step(async () => {
    await signIn(await chat.call(`users.${method}`, { name, password, device: deviceName() }));
    $("sign").reset();
  });
});

/* A code */

const isCoded = () => !$("coded").hidden;

$("other-way").addEventListener("click", () => {
  complain();
  const coded = !isCoded();
  $("coded").hidden = !coded;
  $("sign").hidden = coded;
  $("other-way").textContent = coded ? "Sign in with a password" : "Sign in with a code";
  expectCode(false);
  (coded ? $("coded").elements.address : $("sign").elements.name).focus();
});

function expectCode(expected) {
  part("code").hidden = part("again").hidden = part("note").hidden = !expected;
  $("coded").elements.code.required = expected;
  $("coded").elements.address.readOnly = expected;
  $("coded").elements.code.value = "";
  $("coded").querySelector("[data-test=submit-code]").textContent = expected ? "Sign in" : "Send code";
}

async function requestCode() {
  const address = $("coded").elements.address.value;
  const { sent_by: by } = await chat.call("users.request_code", { address });
  expectCode(true);
  part("note").textContent = codeSentence(by, address);
  $("coded").elements.code.focus();
}

part("again").addEventListener("click", () => void step(requestCode));

$("coded").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  if (part("code").hidden) return void step(requestCode);
  const { address, code } = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData($("coded"))));
  void step(async () => {
    const answer = await chat.call("users.sign_in", { address, code: code.trim(), device: deviceName() });
    if (!answer.session) {
      const left = answer.attempts_left;
      if (left === 0) expectCode(false);
      const sentence =
        left === 0
          ? "Too many wrong codes. Request a new one."
          : `Wrong code, ${left} more ${left === 1 ? "try" : "tries"}.`;
      throw Object.assign(new Error(sentence), { code: "page.wrong_code" });
    }
    await signIn(answer.session);
    $("coded").reset();
    expectCode(false);
  });
});

/* Third parties */

let offered = false;

async function offer() {
  if (offered) return;
  offered = true;
  for (const { id, name } of await providers()) {
    $("sign-in-methods").append(
      button(`Sign in with ${name}`, `provider-${id}`, () => void step(() => beginThirdParty(id))),
    );
  }
}

let pendingFlow = comeBack;

async function finish() {
  const flow = pendingFlow;
  pendingFlow = undefined;
  const isIn = chat.state === "online";
  $("waiting").hidden = isIn;
  $("waiting").textContent = "Signing in…";
  const finished = async () => {
    if (flow.problem) throw Object.assign(new Error(flow.problem), { code: "page.oidc" });
    if (await finishThirdParty(flow)) showNotice("Sign-in method added.", true);
  };
  await (isIn ? attempt(finished) : step(finished));
  $("waiting").hidden = true;
}

chat.addEventListener("state", ({ detail: { state } }) => {
  if (state === "anonymous") void offer();
  // Adding a sign-in method is finished while signed in.
  if (pendingFlow && (state === "anonymous" || state === "online")) void finish();
});

// Enabled only now: before, the browser would submit the form itself, with the password in the address.
for (const button of $("sign-in").querySelectorAll("button")) button.disabled = false;
