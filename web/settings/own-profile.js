// The user's own profile.

import { Latest } from "../client/latest.js";
import { element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { action, area, buttons, field, form, input } from "../shell/panel-widgets.js";
import { nameOf, portrait } from "../people/people.js";
import { blobs, squared } from "../shell/pictures.js";
import { redrawPanel } from "../shell/panel.js";

export const ownProfilePage = { title: "Profile", test: "own-profile-page", build };

const zones = () => Intl.supportedValuesOf?.("timeZone") ?? [];

async function build(body) {
  const profile = await chat.call("users.profile", { actor: chat.actor });
  const name = input({ value: profile.display_name, maxLength: 64, required: true });
  const bio = area({ value: profile.bio, maxLength: 500 });
  const locale = input({ value: profile.locale, placeholder: navigator.language, maxLength: 35 });
  const zone = input({ value: profile.time_zone, placeholder: Intl.DateTimeFormat().resolvedOptions().timeZone });
  const known = element("datalist", { id: "zones" }, ...zones().map((value) => element("option", { value })));
  zone.setAttribute("list", known.id);
  body.append(
    picture(profile),
    form(
      "profile-form",
      "Save",
      [
        field("Display name", name, "display-name", `Your account is @${profile.name}.`),
        field("About you", bio, "bio"),
        field("Language", locale, "locale", "A language tag such as de-CH."),
        field("Time zone", zone, "time-zone"),
        known,
      ],
      () =>
        chat.call("users.set_profile", {
          display_name: name.value,
          bio: bio.value,
          locale: locale.value.trim(),
          time_zone: zone.value.trim(),
        }),
      "Saved.",
    ),
  );
}

/** The chosen picture. Uploads run one after the other, so that the last choice wins. */
let chosen;
const pictures = Latest.each(
  async () => {
    const small = await squared(chosen).catch(() => {
      throw Object.assign(new Error("This file can't be read as a picture."), { code: "page.no_picture" });
    });
    await blobs.upload("users", small).done;
    // The upload already replaced the picture; this call notifies the user's other devices.
    await chat.call("users.set_profile", {});
  },
  () => {},
);

function picture({ avatar }) {
  const shown = portrait(nameOf(chat.actor), { picture: avatar });
  shown.classList.add("large");
  const file = input({ type: "file", accept: "image/*", className: "unseen" });
  file.dataset.test = "picture-file";
  file.setAttribute("aria-label", "Picture");
  file.addEventListener("change", async () => {
    chosen = file.files[0];
    try {
      await pictures.load("own");
      redrawPanel("own-profile-page");
    } catch (error) {
      showNotice(error.message);
    }
  });
  return element(
    "header",
    { className: "head" },
    shown,
    file,
    buttons(
      action("Change picture", "choose-picture", () => file.click()),
      ...(avatar
        ? [
            action("Remove picture", "remove-picture", async () => {
              await chat.call("users.set_profile", { avatar: "" });
              redrawPanel("own-profile-page");
            }),
          ]
        : []),
    ),
  );
}
