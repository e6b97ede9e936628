// What a message says: as a node in the conversation, and in one line elsewhere.

import { element } from "../shell/dom.js";

export const RECALLED = "Message recalled";

/**
 * How the kinds of messages are shown: kind → {show(message, {conversation}) → node, preview(message) → text}. Modules put
 * theirs here. A message that is not sent yet has `state` "queued" and no `seq`. A kind with `line(message, {conversation})`
 * → text has no sender to speak of, and is a line between the messages.
 */
export const kinds = new Map();

/** How events that are no messages are told, by their type: function (event, {conversation}) → text. */
export const eventLines = new Map();

/** What in a text stands out: functions (content) → [{text, className}]. */
export const phrases = [];

/** What stands above contents: functions (message, {conversation}) → node or null. */
export const above = [];

/** What stands below contents: functions (message, {conversation}) → node or null, for a translation for example. */
export const below = [];

kinds.set("text", {
  show: ({ content }) => element("span", { className: "words" }, ...worded(content)),
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
  const content = shown(message).show(message, place);
  const [over, under] = [above, below].map((parts) => parts.map((show) => show(message, place)).filter(Boolean));
  return over.length + under.length > 0 ? element("div", {}, ...over, content, ...under) : content;
}

/** Returns an event as a line between the messages, or undefined if it is none. */
export function eventLineOf(event, place) {
  const line = event.type === "message" ? kinds.get(event.kind)?.line : eventLines.get(event.type);
  return line?.(event, place);
}

/** Returns what an event says in one line; empty if it says nothing to readers. */
export function previewOf(event, place) {
  if (!event) return "";
  const line = eventLineOf(event, place);
  if (line !== undefined) return line;
  if (event.recalled || event.type === "recall") return RECALLED;
  if (event.type === "reaction") return event.content.on ? `Reacted with ${event.content.emoji}` : "";
  if (event.type === "message") return shown(event).preview(event);
  return event.content?.text ?? "";
}

/** Returns a text as nodes, with what stands out in it and its links. */
function worded(content) {
  const found = phrases.flatMap((find) => find(content)).sort((left, right) => right.text.length - left.text.length);
  if (found.length === 0) return linked(content.text);
  const escaped = found.map(({ text }) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  const pattern = new RegExp(`(${escaped.join("|")})`);
  const classes = new Map(found.map(({ text, className }) => [text, className]));
  return content.text.split(pattern).flatMap((part, at) =>
    at % 2 ? [element("span", { className: classes.get(part) }, part)] : linked(part));
}

/** Returns a text with its links as nodes. */
export function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, at) =>
    at % 2 ? element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part);
}
