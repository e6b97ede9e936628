// Buttons in the header of a conversation: shared files and translation.

import { $, busy, button, showNotice } from "../shell/dom.js";
import { changes, current } from "./conversations.js";
import { showIfOffered } from "../shell/features.js";
import { startPanel } from "../shell/panel.js";
import { sharedPage } from "../files/file-list.js";
import {
  isTranslated,
  openTranslationSettings,
  setTranslated,
  settings,
  translations,
} from "../translation/translation.js";

const files = button("📁", "shared-files-button", () => startPanel(sharedPage(current.id)), {
  className: "round",
  title: "Shared files",
});
files.setAttribute("aria-label", "Files of this conversation");

const globe = button("🌐", "translate-conversation", () => busy(globe, toggle), { className: "round" });

$("conversation").querySelector("header").append(globe, files);

async function toggle() {
  if (!settings.language) return openTranslationSettings.run();
  try {
    const on = !isTranslated(current);
    await setTranslated(current, on);
    showNotice(
      on
        ? "Messages in this conversation are translated for you."
        : "Messages in this conversation are not translated.",
    );
  } catch (error) {
    showNotice(error.message);
  }
}

function show() {
  globe.hidden = !settings;
  if (globe.hidden || !current) return;
  const on = Boolean(settings.language) && isTranslated(current);
  globe.setAttribute("aria-pressed", String(on));
  globe.title = on ? "Messages are translated for you" : "Messages are not translated";
  globe.setAttribute("aria-label", "Translate messages in this conversation");
}
changes.addEventListener("open", show);
translations.addEventListener("change", show);

showIfOffered("files.usage", files);
