// The page of the panel with the settings of translation.

import { element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { openPanel, startPanel } from "../shell/panel.js";
import { choice, field, form, quiet, checkbox } from "../shell/panel-widgets.js";
import { addSettings } from "../settings/settings.js";
import { languageName, openTranslationSettings, setSettings, settings } from "./translation.js";

export const translationPage = { title: "Translation", test: "translation-page", build };

async function build(body) {
  const [{ languages }, mine, status] = await Promise.all([
    chat.call("translation.languages"),
    chat.call("translation.settings"),
    chat.call("translation.status"),
  ]);
  const named = languages
    .map((tag) => [tag, languageName(tag)])
    .sort(([, left], [, right]) => left.localeCompare(right));
  const likely = navigator.language.toLowerCase().split("-")[0];
  const language = choice(
    [["", "Don't translate"], ...named],
    mine.language ?? (languages.includes(likely) ? likely : ""),
  );
  const reads = element("div", { className: "choices" });
  const boxes = named.map(([tag, name]) => {
    const { box, node } = checkbox(name, `reads-${tag}`, mine.reads.includes(tag));
    reads.append(node);
    return [tag, box];
  });
  const everywhere = checkbox(
    "In all conversations, except where I turn it off",
    "everywhere",
    mine.everywhere || !mine.language,
  );
  const untranslated = checkbox("Never send what I write to a translation service", "untranslated", mine.untranslated);
  body.append(
    quiet(
      "Messages of others are shown in your language, with the original one tap away. 🌐 turns this on and off for a conversation.",
    ),
    form(
      "translation-settings",
      "Save",
      [
        field("Your language", language, "language"),
        element(
          "details",
          { open: mine.reads.length > 0 },
          element("summary", {}, "Languages that need no translation"),
          reads,
        ),
        everywhere.node,
        untranslated.node,
      ],
      () =>
        setSettings({
          ...(language.value ? { language: language.value } : {}),
          reads: boxes.filter(([, box]) => box.checked).map(([tag]) => tag),
          everywhere: everywhere.box.checked,
          untranslated: untranslated.box.checked,
        }),
      "Saved.",
    ),
    quiet(
      `Today ${status.own_characters.toLocaleString()} of ${status.own_limit.toLocaleString()} characters that you wrote were translated.`,
    ),
  );
}

addSettings({
  text: "Translation",
  test: "translation",
  icon: "🌐",
  open: () =>
    openPanel(
      settings
        ? translationPage
        : {
            title: "Translation",
            test: "translation-page",
            build: (body) => body.append(quiet("This server has no translation.")),
          },
    ),
});
openTranslationSettings.run = () => startPanel(translationPage);
