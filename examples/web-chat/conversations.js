// The conversations of whoever is signed in, and which of them is open.

import { MessageList } from "/client/courtyard.js";
import { chat } from "./session.js";
import { learn, nameOf } from "./people.js";
import { previewOf } from "./content.js";

export const conversations = new Map();

/** The open conversation, if one is. */
export let current = null;

/**
 * Tells the views what changed: `open` (another conversation is open, or none), `list` (something that the list of
 * conversations shows), `messages` (detail: {toEnd}: something in the open one), `writing`.
 */
export const changes = new EventTarget();

export const changed = (type, detail = {}) => changes.dispatchEvent(new CustomEvent(type, { detail }));

/** Returns a conversation; it need not be listed yet. */
export function conversationOf(id) {
  if (!conversations.has(id)) {
    conversations.set(id, {
      id, members: [], list: new MessageList(), newest: 0, writing: new Set(), pending: [], draft: "", editing: null,
    });
  }
  return conversations.get(id);
}

export const partnerOf = (conversation) => conversation.members.find((member) => member !== chat.actor);
export const titleOf = (conversation) => nameOf(partnerOf(conversation));

/** Returns the newest message of a conversation in one line. */
export const lineOf = ({ list, last }) => previewOf(list.messages.at(-1) ?? last);

/** Opens a conversation, or none. */
export async function open(conversation) {
  changed("close");
  current = conversation;
  changed("open");
  changed("list");
  if (conversation) await fill(conversation);
}

/** Opens the conversation with someone. */
export async function talkTo(actor) {
  const known = [...conversations.values()].find((conversation) => partnerOf(conversation) === actor);
  if (known) return open(known);
  const opened = await chat.call("users.open_direct", { actor });
  const conversation = conversationOf(opened.conversation);
  conversation.members = [chat.actor, actor];
  return open(conversation);
}

/** Fetches what the page does not have of the newest messages. */
export async function fill(conversation) {
  conversation.list.addPage(await chat.history(conversation.id, { limit: 100 }));
  if (conversation === current) changed("messages", { toEnd: true });
  changed("list");
}

/** Fetches the messages before those that the page has. */
export async function older(conversation) {
  const { first } = conversation.list;
  if (conversation.paging || first <= 1 || first === Infinity) return;
  conversation.paging = true;
  try {
    conversation.list.addPage(await chat.history(conversation.id, { before: first, limit: 100 }));
    if (conversation === current) changed("messages", { older: true });
  } finally {
    conversation.paging = false;
  }
}

/** Says that the open conversation was read, if somebody can see it. */
export function read() {
  if (current && current.newest > 0 && document.visibilityState === "visible" && document.hasFocus()) {
    chat.markRead(current.id, current.newest);
  }
}
addEventListener("focus", read);
document.addEventListener("visibilitychange", read);

/** Notes the newest event of a conversation for the list of conversations. */
function note(conversation, event) {
  conversation.newest = event.seq;
  const first = conversation.last === undefined;
  if (first || event.type === "message") conversation.last = event;
}

chat.addEventListener("synced", async ({ detail }) => {
  for (const { id, members, last } of detail) {
    const conversation = conversationOf(id);
    conversation.members = members;
    if (last && last.seq > conversation.newest) note(conversation, last);
  }
  await learn(detail.flatMap(({ members }) => members));
  changed("list");
  if (current) await fill(current);
});

chat.addEventListener("event", async ({ detail: event }) => {
  const conversation = conversationOf(event.conversation);
  conversation.list.add(event);
  if (event.seq > conversation.newest) note(conversation, event);
  if (conversation.members.length === 0 && event.type === "message") {
    conversation.members = [event.sender, event.receiver ?? chat.actor];
    await learn(conversation.members);
  }
  if (conversation === current) changed("messages");
  changed("list");
});

chat.addEventListener("reset", ({ detail }) => {
  const conversation = conversationOf(detail.conversation);
  conversation.list.clear();
  Object.assign(conversation, { newest: 0, last: undefined });
});

chat.addEventListener("left", ({ detail: { conversation } }) => {
  if (current?.id === conversation) void open(null);
  conversations.delete(conversation);
  changed("list");
});

chat.addEventListener("marks", ({ detail: { conversation } }) => {
  if (!conversations.has(conversation)) return;
  changed("list");
  if (current?.id === conversation) changed("messages");
});

chat.addEventListener("typing", ({ detail: { conversation, actor, on } }) => {
  const { writing } = conversationOf(conversation);
  if (on) writing.add(actor);
  else writing.delete(actor);
  changed("writing");
  changed("list");
});
