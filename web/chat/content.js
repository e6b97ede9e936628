// The content of a message: as a node in the conversation, and as one line in lists.

import { element } from "../shell/dom.js";

export const RECALLED = "Message deleted";

/**
 * Renderers by kind: {show(message, {conversation}) → node, preview(message) → text}. Modules register theirs. An unsent message
 * has the `state` "queued" and no `seq`. A kind with `line(message, {conversation})` → text is a line between the messages.
 */
export const kinds = new Map();

/** Texts for other events by type: function (event, {conversation}) → text. */
export const eventLines = new Map();

/** Highlighted phrases of a text: functions (content) → [{text, className}]. */
export const phrases = [];

/** Nodes above a content: functions (message, {conversation}) → node or null. */
export const above = [];

/** Nodes below a content: functions (message, {conversation}) → node or null. */
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

/** Returns the content of a message as a node. */
export function contentOf(message, place) {
  if (message.recalled) return element("span", { className: "words" }, RECALLED);
  const content = shown(message).show(message, place);
  const [over, under] = [above, below].map((parts) => parts.map((show) => show(message, place)).filter(Boolean));
  return over.length + under.length > 0 ? element("div", {}, ...over, content, ...under) : content;
}

/** Returns the text of an event that is a line between the messages, else undefined. */
export function eventLineOf(event, place) {
  const line = event.type === "message" ? kinds.get(event.kind)?.line : eventLines.get(event.type);
  return line?.(event, place);
}

/** Returns an event as one line of text; empty if readers see nothing of it. */
export function previewOf(event, place) {
  if (!event) return "";
  const line = eventLineOf(event, place);
  if (line !== undefined) return line;
  if (event.recalled || event.type === "recall") return RECALLED;
  if (event.type === "reaction") return event.content.on ? `Reacted with ${event.content.emoji}` : "";
  if (event.type === "message") return shown(event).preview(event);
  return event.content?.text ?? "";
}

/** Returns a text as nodes with highlighted phrases and links. */
function worded(content) {
  const found = phrases.flatMap((find) => find(content)).sort((left, right) => right.text.length - left.text.length);
  if (found.length === 0) return linked(content.text);
  const escaped = found.map(({ text }) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  const pattern = new RegExp(`(${escaped.join("|")})`);
  const classes = new Map(found.map(({ text, className }) => [text, className]));
  return content.text
    .split(pattern)
    .flatMap((part, at) => (at % 2 ? [element("span", { className: classes.get(part) }, part)] : linked(part)));
}

/** Returns a text as nodes with links. */
export function linked(text) {
  return text
    .split(/(https?:\/\/[^\s<>"]+)/)
    .map((part, at) =>
      at % 2 ? element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part,
    );
}
