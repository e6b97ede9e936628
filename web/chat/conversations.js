// The conversations of the signed-in user, and the open one.

import { MessageList } from "../client/courtyard.js";
import { chat } from "../shell/session.js";
import { changed, changes } from "../shell/bus.js";
import { face, loadPeople, loadPresence, appearanceOf, nameOf, portrait } from "../people/people.js";
import { previewOf } from "./content.js";
import { groupOf, load, loadMine } from "../groups/groups.js";

export { changed, changes };
export const conversations = new Map();

/** The open conversation, or null. */
export let current = null;

/** Members up to which `synced` lists receipts, and up to which the page requests them separately. */
const RECEIPTS_LISTED = 8;
const RECEIPTS_TOLD = 200;

/** Returns a conversation, and creates its record if it is not listed yet. `notices` has the `members` events by number. */
export function conversationOf(id) {
  if (!conversations.has(id)) {
    conversations.set(id, {
      id,
      kind: "",
      members: [],
      list: new MessageList(),
      notices: new Map(),
      newest: 0,
      writing: new Set(),
      pending: [],
      resets: 0,
      draft: "",
      editing: null,
      mentions: [],
      mentioned: new Map(),
    });
  }
  return conversations.get(id);
}

export const isDirect = ({ kind }) => kind === "direct";
export const isGroup = ({ kind }) => kind === "group" || kind === "discussion";
export const othersOf = ({ members }) => members.filter((member) => member !== chat.actor);
export const partnerOf = (conversation) => (isDirect(conversation) ? othersOf(conversation)[0] : undefined);

/** Returns the names of people as one line, with at most `most` names. */
export function nameList(actors, most = 3) {
  const names = actors.slice(0, most).map(nameOf);
  const more = actors.length - names.length;
  return more > 0 ? `${names.join(", ")} and ${more} more` : names.join(", ");
}

export function titleOf(conversation) {
  if (isDirect(conversation)) return nameOf(partnerOf(conversation));
  const name = groupOf(conversation.id)?.name;
  return name || nameList(othersOf(conversation)) || "Only you";
}

/** Returns the picture of a conversation; in a direct one with the presence dot. */
export function faceOf(conversation) {
  const partner = partnerOf(conversation);
  if (partner) return face(partner, true);
  const node = document.createElement("span");
  node.className = "face";
  node.append(
    portrait(titleOf(conversation), { plugin: "files", picture: groupOf(conversation.id)?.picture, shape: "group" }),
  );
  return node;
}

/** Returns the values that the face and the title depend on. */
export function looksOf(conversation) {
  const partner = partnerOf(conversation);
  return partner ? appearanceOf(partner, true) : [titleOf(conversation), groupOf(conversation.id)?.picture];
}

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Returns the time of the newest event, or the time of creation from the id (a ULID) if there is none. */
export function timeOf({ id, last }) {
  return last?.time ?? [...id.slice(0, 10)].reduce((time, digit) => time * 32 + DIGITS.indexOf(digit), 0);
}

/** Returns the newest message or event of a conversation as one line. */
export function lineOf(conversation) {
  const { list, last, notices } = conversation;
  const message = list.messages.at(-1);
  const notice = last?.type === "members" ? last : [...notices.values()].at(-1);
  const newest = !message || notice?.seq > message.seq ? (notice ?? message ?? last) : message;
  const line = previewOf(newest, { conversation });
  const named =
    !isDirect(conversation) && newest?.type === "message" && !newest.kind.startsWith("custom:") && !newest.recalled;
  if (!named || !line) return line;
  return `${newest.sender === chat.actor ? "You" : nameOf(newest.sender)}: ${line}`;
}

/** Counts choices of a conversation: the last choice stays open, in whatever order the answers arrive. */
let choices = 0;

/** Opens a conversation; null closes the open one. */
export async function open(conversation) {
  choices += 1;
  if (conversation === current && conversation) return fill(conversation);
  changed("close");
  current = conversation;
  changed("open");
  changed("list");
  if (!conversation) return;
  await Promise.all([fill(conversation), loadDetails(conversation)]);
}

/** Loads the data of a conversation apart from its messages. */
async function loadDetails(conversation) {
  if (isDirect(conversation)) return loadPresence([partnerOf(conversation)]);
  if (!isGroup(conversation)) return;
  await load(conversation.id);
  await loadPeople(conversation.members, 300);
  const { length } = conversation.members;
  if (length > RECEIPTS_LISTED && length <= RECEIPTS_TOLD) await chat.receipts(conversation.id);
  if (conversation === current) changed("messages");
}

/** Opens the direct conversation with a person, and creates it if needed. */
export async function openDirect(actor) {
  const known = [...conversations.values()].find((conversation) => partnerOf(conversation) === actor);
  if (known) return open(known);
  const choice = ++choices;
  const opened = await chat.call("users.open_direct", { actor });
  const conversation = conversationOf(opened.conversation);
  Object.assign(conversation, { kind: "direct", members: [chat.actor, actor] });
  return choice === choices ? open(conversation) : undefined;
}

/** Opens a group right after joining it. */
export async function enterGroup(id) {
  const choice = ++choices;
  await Promise.all([chat.sync(), loadMine()]);
  return choice === choices ? open(conversationOf(id)) : undefined;
}

function storeEvent(conversation, event) {
  if (event.type === "members") conversation.notices.set(event.seq, event);
  return conversation.list.add(event);
}

/** Loads a page of the history and stores it, unless the conversation was reset meanwhile. */
async function readPage(conversation, range) {
  const { resets } = conversation;
  const page = await chat.history(conversation.id, range);
  if (conversation.resets !== resets) return;
  conversation.list.addPage(page);
  for (const event of page.events) if (event.type === "members") conversation.notices.set(event.seq, event);
  const senders = page.events.map(({ sender, type }) => (type === "annotation" ? undefined : sender));
  const members = page.events.flatMap(({ type, content }) =>
    type === "members" ? [...content.joined, ...content.left] : [],
  );
  if (!isDirect(conversation)) void loadPeople([...senders, ...members].filter(Boolean));
}

/** Loads the newest page of messages. */
export async function fill(conversation) {
  await readPage(conversation, { limit: 100 });
  if (conversation === current) changed("messages", { toEnd: true });
  changed("list");
}

/** Loads the messages before the oldest loaded one. */
export async function older(conversation, limit = 100) {
  const { first } = conversation.list;
  if (conversation.paging || first <= 1 || first === Infinity) return;
  conversation.paging = true;
  try {
    await readPage(conversation, { before: first, limit });
    if (conversation === current) changed("messages", { older: true });
  } finally {
    conversation.paging = false;
  }
}

/** Marks the open conversation as read if it is visible and focused. */
export function read() {
  if (current && current.newest > 0 && isSeen(current)) {
    chat.markRead(current.id, current.newest);
    changed("read");
  }
}
addEventListener("focus", read);
document.addEventListener("visibilitychange", read);

/** Returns true if a conversation is open in a visible page that has the focus. */
export const isSeen = (conversation) =>
  conversation === current && document.visibilityState === "visible" && document.hasFocus();

/** Records the newest event of a conversation for the conversation list. */
function setNewest(conversation, event) {
  conversation.newest = event.seq;
  const first = conversation.last === undefined;
  if (first || event.type === "message" || event.type === "members") conversation.last = event;
}

chat.addEventListener("state", ({ detail: { state } }) => {
  if (state === "online") void loadMine();
});

chat.addEventListener("synced", async ({ detail }) => {
  for (const { id, kind, members, last } of detail) {
    const conversation = conversationOf(id);
    Object.assign(conversation, { kind, members });
    if (last?.type === "members") conversation.notices.set(last.seq, last);
    if (last && last.seq > conversation.newest) setNewest(conversation, last);
  }
  changed("list");
  const partners = detail.filter(isDirect).flatMap(othersOf);
  const senders = detail
    .filter((one) => !isDirect(one))
    .flatMap(({ last, members }) => [last?.sender, ...members.slice(0, 4)]);
  await loadPeople([...partners, ...senders.filter(Boolean)]);
  changed("list");
  if (detail.some((listed) => isGroup(listed) && !groupOf(listed.id))) void loadMine();
  if (current) await Promise.all([fill(current), loadDetails(current)]);
  await loadPresence(partners.slice(0, 300));
});

chat.addEventListener("event", async ({ detail: event }) => {
  const conversation = conversationOf(event.conversation);
  storeEvent(conversation, event);
  if (event.type === "members")
    conversation.members = chat.conversation(event.conversation)?.members ?? conversation.members;
  if (event.seq > conversation.newest) setNewest(conversation, event);
  if (conversation === current) changed("messages");
  changed("list");
  if (isDirect(conversation)) return;
  if (event.type === "members") await loadPeople([event.sender, ...event.content.joined.slice(0, 20)]);
  else if (event.type === "message") await loadPeople([event.sender]);
});

chat.addEventListener("reset", ({ detail }) => {
  const conversation = conversationOf(detail.conversation);
  conversation.list.clear();
  conversation.notices.clear();
  conversation.resets += 1;
  Object.assign(conversation, { newest: 0, last: undefined, mentions: [] });
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
