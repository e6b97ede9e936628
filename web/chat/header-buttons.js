// Buttons in the head of a conversation: its files, and whether its texts are translated.

import { $, busy, button, tell } from "../shell/dom.js";
import { changes, current } from "./conversations.js";
import { offered } from "../shell/features.js";
import { startPanel } from "../shell/panel.js";
import { sharedPage } from "../files/file-list.js";
import { isTranslated, openTranslationSettings, setTranslated, settings, translations } from "../translation/translation.js";

const files = button("📁", "shared-files-button", () => startPanel(sharedPage(current.id)), { className: "round", title: "Shared files" });
files.setAttribute("aria-label", "Files of this conversation");

const globe = button("🌐", "translate-conversation", () => busy(globe, toggle), { className: "round" });

$("room").querySelector("header").append(globe, files);

async function toggle() {
  if (!settings.language) return openTranslationSettings.run();
  try {
    const on = !isTranslated(current);
    await setTranslated(current, on);
    tell(on ? "Texts here come to you in your language." : "Texts here stay as they are.");
  } catch (error) {
    tell(error.message);
  }
}

function show() {
  globe.hidden = !settings;
  if (globe.hidden || !current) return;
  const on = Boolean(settings.language) && isTranslated(current);
  globe.setAttribute("aria-pressed", String(on));
  globe.title = on ? "Texts are translated for you" : "Texts are not translated";
  globe.setAttribute("aria-label", "Translate texts of this conversation");
}
changes.addEventListener("open", show);
translations.addEventListener("change", show);

offered("files.usage", files);
