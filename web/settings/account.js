// The account: password, addresses, sign-in methods, closing.

import { action } from "../shell/dom.js";
import { chat, endSession } from "../shell/session.js";
import { redrawPanel } from "../shell/panel.js";
import { buttons, field, form, heading, input, list, quiet, dangerButton } from "../shell/panel-widgets.js";
import { element, showNotice } from "../shell/dom.js";
import { codeSentence } from "../sign-in/code.js";
import { beginThirdParty, providers } from "../sign-in/third-party.js";

export const accountPage = { title: "Account", test: "account-page", build };

const secret = (autocomplete, required = true) =>
  input({ type: "password", autocomplete, required, minLength: 8, maxLength: 256 });

async function build(body) {
  const [{ addresses }, known, { identities }] = await Promise.all([
    chat.call("users.addresses"),
    providers(),
    chat.call("users.identities"),
  ]);
  body.append(...password());
  body.append(heading("Addresses"), ...ownAddresses(addresses));
  if (known.length > 0) body.append(heading("Sign in with"), ...thirdParties(known, identities));
  body.append(heading("Close account"), ...closeForm());
}

function password() {
  const old = secret("current-password", false);
  const fresh = secret("new-password");
  return [
    heading("Password"),
    form(
      "password-form",
      "Change password",
      [
        field("Current password", old, "old-password", "Leave it empty if you never had one."),
        field("New password", fresh, "new-password", "At least 8 characters. All your other devices are logged out."),
      ],
      async (form) => {
        await chat.call("users.change_password", {
          new_password: fresh.value,
          ...(old.value ? { password: old.value } : {}),
        });
        form.reset();
      },
      "Password changed.",
    ),
  ];
}

let adding;

function ownAddresses(addresses) {
  const rows = addresses.map(({ address }) =>
    element(
      "div",
      { className: "row" },
      element("span", { className: "who" }, address),
      action(
        "Remove",
        `remove-${address}`,
        async () => {
          await chat.call("users.remove_address", { address });
          redrawPanel("account-page");
        },
        { className: "small" },
      ),
    ),
  );
  const shown = list(rows, "addresses", "Add an e-mail address or a phone number to sign in with a code.");
  return [shown, adding ? codeForm() : addressForm()];
}

function addressForm() {
  const address = input({
    autocomplete: "email",
    required: true,
    maxLength: 254,
    placeholder: "ann@example.com or +41…",
  });
  return form("address-form", "Add", [field("E-mail address or phone number", address, "new-address")], async () => {
    const { sent_by: by } = await chat.call("users.add_address", { address: address.value });
    adding = { address: address.value, by };
    redrawPanel("account-page");
  });
}

function codeForm() {
  const { address, by } = adding;
  const code = input({
    inputMode: "numeric",
    autocomplete: "one-time-code",
    required: true,
    pattern: "\\s*[0-9]{6}\\s*",
  });
  const node = form(
    "confirm-form",
    "Confirm",
    [field("Code", code, "address-code", codeSentence(by, address))],
    async () => {
      const { done, attempts_left: left } = await chat.call("users.confirm_address", {
        address,
        code: code.value.trim(),
      });
      if (!done) {
        if (left === 0) adding = undefined;
        else return showNotice(`Wrong code, ${left} more ${left === 1 ? "try" : "tries"}.`);
      } else {
        adding = undefined;
        showNotice("Address added.", true);
      }
      redrawPanel("account-page");
    },
  );
  node.append(
    action("Cancel", "cancel-address", () => {
      adding = undefined;
      redrawPanel("account-page");
    }),
  );
  return node;
}

function thirdParties(known, identities) {
  const nameOf = (id) => known.find((provider) => provider.id === id)?.name ?? id;
  const rows = identities.map(({ provider, subject }) =>
    element(
      "div",
      { className: "row" },
      element("span", { className: "who" }, nameOf(provider), element("small", { className: "quiet" }, subject)),
      action(
        "Remove",
        `remove-${provider}`,
        async () => {
          await chat.call("users.remove_identity", { provider, subject });
          redrawPanel("account-page");
        },
        { className: "small" },
      ),
    ),
  );
  const add = known.map(({ id, name }) => {
    const isKnown = identities.some(({ provider }) => provider === id);
    return action(isKnown ? `Add another ${name} account` : `Add ${name}`, `link-${id}`, () =>
      beginThirdParty(id, true),
    );
  });
  return [list(rows, "identities", "None yet."), buttons(...add)];
}

function closeForm() {
  const sure = secret("current-password", false);
  return [
    quiet("This deletes your profile, picture and contacts at once. Nobody can sign in to the account again."),
    field("Password", sure, "closing-password"),
    buttons(
      dangerButton("Close account", "Close your account? This can't be undone.", "close-account", async () => {
        await chat.call("users.close_account", sure.value ? { password: sure.value } : {});
        endSession();
      }),
    ),
  ];
}
