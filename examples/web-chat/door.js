// Signing in.

import { $ } from "./dom.js";
import { chat, enter, leave } from "./session.js";

$("sign").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const method = submitted.submitter?.value ?? "login";
  const { name, password } = Object.fromEntries(new FormData($("sign")));
  const problem = $("sign").querySelector(".problem");
  problem.hidden = true;
  try {
    await enter(await chat.call(`users.${method}`, { name, password }));
    $("sign").reset();
  } catch (error) {
    problem.textContent = error.message;
    problem.dataset.code = error.code;
    problem.hidden = false;
  }
});

$("leave").addEventListener("click", async () => {
  try {
    await chat.call("users.logout");
  } catch {
    // The token is forgotten here in any case.
  }
  leave();
});
