// What a message says: as a node in the conversation, and in one line elsewhere.

import { element } from "./dom.js";

export const RECALLED = "Message recalled";

/**
 * How the kinds of messages are shown: kind → {show(message, {conversation}) → node, preview(message) → text}. Modules put
 * theirs here. A message that is not sent yet has `state` "queued" and no `seq`.
 */
export const kinds = new Map();

/** What stands below contents: functions (message, {conversation}) → node or null, for a translation for example. */
export const below = [];

kinds.set("text", {
  show: ({ content }) => element("span", { className: "words" }, ...linked(content.text)),
  preview: ({ content }) => content.text,
});

const unknown = {
  show: (message) => element("span", { className: "quiet" }, unknown.preview(message)),
  preview: ({ kind, content }) => (typeof content.text === "string" ? content.text : `[${kind}]`),
};

const shown = ({ kind }) => kinds.get(kind) ?? unknown;

/** Returns the node of what a message says. */
export function contentOf(message, place) {
  if (message.recalled) return element("span", { className: "words" }, RECALLED);
  const parts = below.map((show) => show(message, place)).filter(Boolean);
  const content = shown(message).show(message, place);
  return parts.length > 0 ? element("div", {}, content, ...parts) : content;
}

/** Returns what an event says in one line; empty if it says nothing to readers. */
export function previewOf(event) {
  if (!event) return "";
  if (event.recalled || event.type === "recall") return RECALLED;
  if (event.type === "reaction") return event.content.on ? `Reacted with ${event.content.emoji}` : "";
  if (event.type === "message") return shown(event).preview(event);
  return event.content?.text ?? "";
}

/** Returns a text with its links as nodes. */
export function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, at) =>
    at % 2 ? element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part);
}
