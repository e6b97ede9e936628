// Messages in the reader's language, with the original one tap away.

import { Latest } from "../client/latest.js";
import { button, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changes, conversations, current } from "../chat/conversations.js";
import { kinds } from "../chat/content.js";
import "../files/media.js";
import { furtherActs } from "../chat/message-menu.js";
import { redraw } from "../chat/message-list.js";

/** The reader's settings: {language, reads, everywhere, untranslated}; undefined until loaded, and without the plugin. */
export let settings;

/** Dispatches `change` after the settings or the translated conversations changed. */
export const translations = new EventTarget();

/** Whether a conversation is translated, by id; only loaded conversations. */
const wanted = new Map();
/** Requested translations by message, and the messages whose original is shown. */
const requested = new Map();
const originals = new Set();

const keyOf = ({ conversation, seq, edited }, place = current) => `${conversation ?? place?.id} ${seq} ${edited ?? ""}`;

/** Returns the name of a language in the language of the page. */
export function languageName(tag) {
  try {
    return new Intl.DisplayNames([navigator.language], { type: "language" }).of(tag);
  } catch {
    return tag;
  }
}

const wordsOf = ({ kind, content }) => (kind === "text" ? content.text : content.caption);

/** Returns the translation to show for a message, or undefined. */
function translationOf(message) {
  if (message.recalled || message.seq === undefined) return undefined;
  const mine = requested.get(keyOf(message));
  if (mine) return mine;
  if (!settings?.language || message.sender === chat.actor || wanted.get(message.conversation) === false)
    return undefined;
  const note = message.annotations?.find(({ plugin, name }) => plugin === "translation" && name === settings.language);
  return typeof note?.value?.text === "string" ? note.value : undefined;
}

/** Returns a translated text with a line below it that switches to the original. */
function translated(message, translation, show) {
  const isOriginal = originals.has(keyOf(message));
  const from = translation.from ? languageName(translation.from) : null;
  const flip = button(
    isOriginal ? "Show translation" : "Show original",
    "flip",
    () => {
      if (isOriginal) originals.delete(keyOf(message));
      else originals.add(keyOf(message));
      redraw(message.seq);
    },
    { className: "flip" },
  );
  flip.dataset.part = "flip";
  const label = isOriginal ? "Original" : from ? `Translated from ${from}` : "Translated";
  const line = element(
    "span",
    { className: "translated", title: translation.by ? `By ${translation.by}` : "" },
    `${label} · `,
    flip,
  );
  line.dataset.test = "translated";
  return element("div", {}, show(isOriginal ? undefined : translation.text), line);
}

const text = kinds.get("text");
kinds.set("text", {
  ...text,
  show: (message, place) => {
    const translation = translationOf(message);
    if (!translation) return text.show(message, place);
    const shown = (words) =>
      text.show(words === undefined ? message : { ...message, content: { ...message.content, text: words } }, place);
    return translated(message, translation, shown);
  },
  preview: (message, ...place) => {
    const translation = translationOf(message);
    return text.preview(
      translation ? { ...message, content: { ...message.content, text: translation.text } } : message,
      ...place,
    );
  },
});

/* Captions have no annotations; they are translated on request. */
for (const kind of ["image", "file", "voice", "video"]) {
  const plain = kinds.get(kind);
  kinds.set(kind, {
    ...plain,
    show: (message, place) => {
      const translation = requested.get(keyOf(message));
      if (!translation) return plain.show(message, place);
      const shown = (words) =>
        plain.show(
          words === undefined ? message : { ...message, content: { ...message.content, caption: words } },
          place,
        );
      return translated(message, translation, shown);
    },
  });
}

/* Translating what has no annotation */

furtherActs.push((message) => {
  const words = wordsOf(message);
  if (!settings || message.sender === chat.actor || typeof words !== "string" || words === "" || translationOf(message))
    return null;
  return { text: "Translate", test: "translate", run: () => translate(message, words) };
});

const NOTICES = {
  unneeded: "This message needs no translation.",
  unavailable: "This message can't be translated at the moment.",
  capped: "The translation limit of today is reached. Try again tomorrow.",
};

/** Texts of pending requests, and the requests, by message. */
const texts = new Map();
const answers = Latest.each(
  (key) => answered(texts.get(key)),
  (answer, key) => {
    if (answer.state === "ready") requested.set(key, answer);
    return answer;
  },
);

async function translate(message, words) {
  const key = keyOf(message);
  texts.set(key, words);
  try {
    const answer = await answers.need(key);
    texts.delete(key);
    // The reader chose another language meanwhile.
    if (!answer) return;
    if (answer.state !== "ready") return showNotice(NOTICES[answer.state] ?? answer.state);
    redraw(message.seq);
  } catch (error) {
    if (error.code === "translation.unknown_language") return void openTranslationSettings.run();
    showNotice(error.message);
  }
}

/** Opens the settings for a reader without a language; `translation/translation-settings.js` sets `run`. */
export const openTranslationSettings = { run() {} };

/** Requests a translation and resolves with the answer. A signal reports its end. */
async function answered(words) {
  for (;;) {
    let onSignal,
      id,
      early = new Set();
    const translated = new Promise((done) => {
      onSignal = ({ detail: { plugin, name, payload } }) => {
        if (plugin !== "translation" || name !== "translated") return;
        early.add(payload.id);
        if (payload.id === id) done();
      };
      chat.addEventListener("signal", onSignal);
    });
    try {
      const answer = await chat.call("translation.translate", { text: words });
      if (answer.state !== "pending") return answer;
      id = answer.id;
      // Covers a lost signal: the next request returns the finished translation.
      if (!early.has(id)) await Promise.race([translated, new Promise((late) => setTimeout(late, 10_000))]);
    } finally {
      chat.removeEventListener("signal", onSignal);
    }
  }
}

/* What the reader wants */

const loadedSettings = Latest.each(
  () => chat.call("translation.settings"),
  (answer) => (settings = answer),
);

chat.addEventListener("state", async ({ detail: { state } }) => {
  if (state !== "online") return;
  try {
    await loadedSettings.load("settings");
    translations.dispatchEvent(new Event("change"));
    await load(current);
  } catch (error) {
    // Without the plugin, the page offers no translation.
    if (error.retry) return;
    settings = undefined;
  }
});

const translatedHere = Latest.each(
  async (conversation) => (await chat.call("translation.conversation", { conversation })).translated,
  (on, id) => {
    wanted.set(id, on);
    redrawAll(conversations.get(id));
  },
);

changes.addEventListener("open", () => void load(current));

async function load(conversation) {
  if (!settings || !conversation || wanted.has(conversation.id)) return;
  // After a failure, the next opening of the conversation loads it again.
  await translatedHere.need(conversation.id).catch(() => {});
}

export const isTranslated = ({ id }) => wanted.get(id) ?? false;

/** Turns translation of a conversation on or off; `on` undefined follows the general setting. */
export async function setTranslated(conversation, on) {
  await chat.call("translation.set_conversation", {
    conversation: conversation.id,
    ...(on === undefined ? {} : { on }),
  });
  await translatedHere.load(conversation.id);
}

export async function setSettings(chosen) {
  await chat.call("translation.set_settings", chosen);
  await loadedSettings.load("settings");
  wanted.clear();
  translatedHere.clear();
  requested.clear();
  answers.clear();
  if (current) await load(current);
  redrawAll(current);
}

function redrawAll(conversation) {
  translations.dispatchEvent(new Event("change"));
  if (conversation !== current || !conversation) return;
  redraw(...conversation.list.messages.map(({ seq }) => seq));
}

chat.addEventListener("left", ({ detail: { conversation } }) => {
  translatedHere.forget(conversation);
  wanted.delete(conversation);
  if (!conversations.has(conversation)) originals.clear();
});
