import { Courtyard, MessageList, revised } from "/client/courtyard.js";

const $ = (id) => document.getElementById(id);
const device = (localStorage.device ??= `web-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`);
const chat = new Courtyard({ url: location.origin.replace(/^http/, "ws") + "/v1/ws", device });
globalThis.chat = chat;

const REACTIONS = ["👍", "❤️", "😂", "😮", "😢", "🎉"];
const RECALLED = "Message recalled";

const names = new Map();
const conversations = new Map();
let current = null;
let found = [];

function element(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children.filter((child) => child != null));
  return node;
}

function avatar(node, name) {
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  node.className = "avatar";
  node.textContent = name.slice(0, 1).toUpperCase();
  node.style.background = `hsl(${hue} 45% 45%)`;
  return node;
}

const nameOf = (actor) => names.get(actor) ?? "…";
const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const day = (time) => new Date(time).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });

async function learn(actors) {
  const unknown = [...new Set(actors)].filter((actor) => !names.has(actor)).slice(0, 100);
  if (unknown.length === 0) return;
  const { people } = await chat.call("users.profiles", { actors: unknown });
  for (const person of people) names.set(person.actor, person.display_name);
}

/* Signing in */

$("sign").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const method = submitted.submitter?.value ?? "login";
  const { name, password } = Object.fromEntries(new FormData($("sign")));
  const problem = $("sign").querySelector(".problem");
  problem.hidden = true;
  try {
    const { token } = await chat.call(`users.${method}`, { name, password });
    localStorage.token = token;
    await chat.auth(token);
    $("sign").reset();
  } catch (error) {
    problem.textContent = error.message;
    problem.dataset.code = error.code;
    problem.hidden = false;
  }
});

$("leave").addEventListener("click", async () => {
  try {
    await chat.call("users.logout");
  } catch {
    // The token is forgotten here in any case.
  }
  leave();
});

function leave() {
  delete localStorage.token;
  localStorage.removeItem("courtyard.outbox");
  location.reload();
}

/* The connection */

chat.addEventListener("state", async ({ detail: { state, retryAt, code } }) => {
  const signedIn = state === "online" || (localStorage.token && state !== "anonymous");
  $("door").hidden = Boolean(signedIn);
  $("house").hidden = !signedIn;
  showLink(state, retryAt, code);
  if (state === "ended") leave();
  if (state !== "online") return;
  const me = await chat.call("users.whoami");
  names.set(me.actor, me.display_name);
  $("me").textContent = me.display_name;
  await findPeople();
});

function showLink(state, retryAt, code) {
  const text = state === "offline" && retryAt ? "No connection. Trying again soon." : null;
  $("link").hidden = text === null;
  $("link").firstElementChild.textContent = text ?? code ?? "";
}

addEventListener("unhandledrejection", (rejected) => {
  // The bar says so already, and what the page needs is asked for again with the next connection.
  if (rejected.reason?.code === "offline") rejected.preventDefault();
});

$("link").querySelector("button").addEventListener("click", () => chat.connect());

/* Conversations and people */

chat.addEventListener("synced", async ({ detail }) => {
  for (const { id, members, last } of detail) {
    const conversation = room(id);
    conversation.members = members;
    if (last && last.seq > conversation.newest) note(conversation, last);
  }
  await learn(detail.flatMap(({ members }) => members));
  showPeople();
  if (current) await fill(current);
});

function room(id) {
  if (!conversations.has(id)) {
    conversations.set(id, { id, members: [], list: new MessageList(), newest: 0, writing: new Set() });
  }
  return conversations.get(id);
}

/** Notes the newest event of a conversation for the list of conversations. */
function note(conversation, event) {
  conversation.newest = event.seq;
  const first = conversation.last === undefined;
  if (first || event.type === "message") conversation.last = event;
}

function preview(conversation) {
  const { last, list } = conversation;
  const message = list.messages.at(-1) ?? last;
  if (message?.recalled || message?.type === "recall") return RECALLED;
  if (message?.type === "reaction") return message.content.on ? `Reacted with ${message.content.emoji}` : "";
  return message?.content.text ?? "";
}

const partner = (conversation) => conversation.members.find((member) => member !== chat.actor);

async function findPeople() {
  const query = $("search").value.trim();
  const { people } = await chat.call("users.people", { query, limit: 50 });
  for (const person of people) names.set(person.actor, person.display_name);
  found = people.filter((person) => person.actor !== chat.actor);
  showPeople();
}

let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => chat.state === "online" && findPeople(), 150);
});

function showPeople() {
  const query = $("search").value.trim().toLowerCase();
  const talks = [...conversations.values()]
    .filter((conversation) => partner(conversation) && nameOf(partner(conversation)).toLowerCase().includes(query))
    .sort((left, right) => (right.last?.time ?? 0) - (left.last?.time ?? 0));
  const partners = new Set(talks.map(partner));
  const others = found.filter((person) => !partners.has(person.actor));
  showUnread();
  $("people").replaceChildren(
    ...talks.map((conversation) => entry(partner(conversation), conversation)),
    ...(others.length > 0 ? [element("li", { className: "heading" }, "People")] : []),
    ...others.map((person) => entry(person.actor)),
  );
}

function entry(actor, conversation) {
  const name = nameOf(actor);
  const last = conversation?.last;
  const button = element("button", { onclick: () => talkTo(actor, conversation) },
    avatar(element("span"), name),
    element("span", {}, name),
    last ? element("time", {}, clock(last.time)) : null,
    element("span", { className: "last" }, conversation ? teaser(conversation) : "Say hello"),
    badge(conversation),
  );
  button.dataset.test = `person-${name}`;
  button.setAttribute("aria-current", String(conversation !== undefined && conversation === current));
  return element("li", {}, button);
}

const teaser = (conversation) => (conversation.writing.size > 0 ? "is writing…" : preview(conversation));

/** Returns how many messages are unread, if any. */
function badge(conversation) {
  const unread = conversation ? chat.marks(conversation.id).unread : 0;
  if (unread === 0) return null;
  const node = element("span", { className: "badge" }, unread < 100 ? String(unread) : "99+");
  node.dataset.test = "unread";
  node.setAttribute("aria-label", `${unread} unread`);
  return node;
}

/** Says that the open conversation was read, if somebody can see it. */
function read() {
  if (current && current.newest > 0 && document.visibilityState === "visible" && document.hasFocus()) {
    chat.markRead(current.id, current.newest);
  }
}
addEventListener("focus", read);
document.addEventListener("visibilitychange", read);

function showUnread() {
  let unread = 0;
  for (const { id } of conversations.values()) unread += chat.marks(id).unread;
  document.title = unread > 0 ? `(${unread < 100 ? unread : "99+"}) Courtyard` : "Courtyard";
}

chat.addEventListener("marks", ({ detail: { conversation } }) => {
  if (!conversations.has(conversation)) return;
  showPeople();
  if (current?.id === conversation) showMessages();
});

chat.addEventListener("typing", ({ detail: { conversation, actor, on } }) => {
  const { writing } = room(conversation);
  if (on) writing.add(actor);
  else writing.delete(actor);
  showWriting();
  showPeople();
});

function showWriting() {
  const names = [...(current?.writing ?? [])].map(nameOf);
  $("writing").textContent = names.length > 0 ? `${names.join(", ")} ${names.length > 1 ? "are" : "is"} writing…` : "";
}

chat.addEventListener("left", ({ detail: { conversation } }) => {
  if (current?.id === conversation) $("back").click();
  conversations.delete(conversation);
  showPeople();
});

async function talkTo(actor, conversation) {
  if (!conversation) {
    const opened = await chat.call("users.open_direct", { actor });
    conversation = room(opened.conversation);
    conversation.members = [chat.actor, actor];
  }
  endEdit();
  current = conversation;
  $("house").classList.add("talking");
  $("empty").hidden = true;
  $("title").textContent = nameOf(actor);
  avatar($("avatar"), nameOf(actor));
  showWriting();
  $("text").value = conversation.draft ?? "";
  showMessages(true);
  showPeople();
  $("text").focus();
  await fill(conversation);
}

$("back").addEventListener("click", () => {
  endEdit();
  current = null;
  $("house").classList.remove("talking");
  $("empty").hidden = false;
  showPeople();
});

/* Messages */

chat.addEventListener("event", async ({ detail: event }) => {
  const conversation = room(event.conversation);
  conversation.list.add(event);
  if (event.seq > conversation.newest) note(conversation, event);
  if (conversation.members.length === 0 && event.type === "message") {
    conversation.members = [event.sender, event.receiver ?? chat.actor];
    await learn(conversation.members);
  }
  if (conversation === current) showMessages();
  showPeople();
});
chat.addEventListener("reset", ({ detail }) => {
  const conversation = room(detail.conversation);
  conversation.list.clear();
  Object.assign(conversation, { newest: 0, last: undefined });
});
chat.addEventListener("sent", () => current && showMessages());
chat.addEventListener("refused", ({ detail: { message, error } }) => {
  const conversation = room(message.conversation);
  if (message.type === "send") (conversation.failed ??= []).push({ ...message, reason: error.message });
  else tell(error.message);
  if (conversation === current) showMessages(message.type === "send");
});

let telling;
function tell(text) {
  clearTimeout(telling);
  $("notice").textContent = text;
  $("notice").hidden = false;
  telling = setTimeout(() => ($("notice").hidden = true), 6000);
}

/** Fetches what the page does not have of the newest messages. */
async function fill(conversation) {
  conversation.list.addPage(await chat.history(conversation.id, { limit: 100 }));
  if (conversation === current) showMessages(true);
  showPeople();
}

$("messages").addEventListener("scroll", async () => {
  placeMenu();
  const list = $("messages");
  const conversation = current;
  if (!conversation || conversation.paging || list.scrollTop > 60) return;
  const { first } = conversation.list;
  if (first <= 1 || first === Infinity) return;
  conversation.paging = true;
  try {
    conversation.list.addPage(await chat.history(conversation.id, { before: first, limit: 100 }));
    const below = list.scrollHeight - list.scrollTop;
    if (conversation === current) showMessages();
    list.scrollTop = list.scrollHeight - below;
  } finally {
    conversation.paging = false;
  }
});

/** Returns the messages of the open conversation as they will be when everything unsent has arrived. */
function visible() {
  const unsent = chat.unsent.filter(({ conversation }) => conversation === current.id);
  const { receipts } = chat.marks(current.id);
  const shown = current.list.messages.map((message) => {
    const acts = unsent.filter(({ target }) => target === message.seq);
    const queued = acts.some(({ type }) => type === "edit" || type === "recall");
    const state = queued ? "queued" : message.sender === chat.actor ? "sent" : "";
    const mark = state === "sent" ? markOf(message.seq, receipts) : "";
    return { ...acts.reduce((done, act) => revised(done, expected(act)), message), state, mark };
  });
  const waiting = (message, state) => ({ ...message, sender: chat.actor, client_id: message.id, seq: undefined, state });
  return [
    ...shown,
    ...unsent.filter(({ type }) => type === "send").map((message) => waiting(message, "queued")),
    ...(current.failed ?? []).map((message) => waiting(message, "failed")),
  ];
}

/** Returns how far an own message came with all the others. */
function markOf(seq, receipts) {
  const others = current.members.filter((member) => member !== chat.actor);
  const reached = (kind) => others.length > 0
    && others.every((member) => receipts.some((receipt) => receipt.actor === member && receipt[kind] >= seq));
  return reached("read") ? "read" : reached("delivered") ? "delivered" : "";
}

/** Returns the event that an act of one's own becomes. */
function expected({ type, content, emoji }) {
  const event = { sender: chat.actor, time: Date.now() };
  if (emoji) return { ...event, type: "reaction", content: { emoji, on: type === "react" } };
  return { ...event, type, content };
}

function showMessages(toEnd = false) {
  const list = $("messages");
  const atEnd = toEnd || list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const rows = [];
  let before = null;
  for (const message of visible()) {
    const time = message.time ?? Date.now();
    if (!before || day(before.time) !== day(time)) rows.push({ key: day(time), build: () => separator(day(time)) });
    const turn = before?.sender !== message.sender;
    rows.push({
      key: `${message.sender} ${message.client_id || message.id}`,
      like: JSON.stringify([message, turn, message.reactions?.map(({ actors }) => actors.map(nameOf))]),
      build: () => row({ ...message, time }, turn),
    });
    before = { sender: message.sender, time };
  }
  patch(list, rows);
  if (atEnd) list.scrollTop = list.scrollHeight;
  read();
  const { editing } = current;
  if (editing && current.list.get(editing)?.recalled) endEdit();
  placeMenu();
}

/** Makes the rows of a list those that are wanted, and leaves alone what is the same: the focus stays where it is. */
function patch(list, wanted) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const place = [focused?.closest("li")?.rowKey, focused?.dataset.part];
  const known = new Map([...list.children].map((node) => [node.rowKey, node]));
  let at = list.firstElementChild;
  for (const { key, like, build } of wanted) {
    const old = known.get(key);
    known.delete(key);
    const node = old && old.like === like ? old : Object.assign(build(), { rowKey: key, like });
    if (node === at) {
      at = at.nextElementSibling;
      continue;
    }
    list.insertBefore(node, at);
    if (old && old !== node) {
      if (old === at) at = at.nextElementSibling;
      old.remove();
    }
  }
  for (const node of known.values()) node.remove();
  const ends = [...list.querySelectorAll(".more")];
  if (!ends.some((button) => button.tabIndex === 0)) ends.at(-1)?.setAttribute("tabindex", "0");
  if (!focused || focused.isConnected) return;
  const again = [...list.children].find((node) => node.rowKey === place[0]);
  const part = [...(again?.querySelectorAll("[data-part]") ?? [])].find((node) => node.dataset.part === place[1]);
  (part ?? again?.querySelector(".more") ?? list).focus({ preventScroll: true });
}

const separator = (text) => element("li", { className: "day" }, text);

const SIGNS = { sent: "✓", delivered: "✓✓", read: "✓✓", queued: "🕓", failed: "⚠" };

function row(message, turn) {
  const { state, mark, recalled, edited, seq } = message;
  const own = message.sender === chat.actor;
  const sign = SIGNS[mark || state];
  const text = recalled ? RECALLED : (message.content.text ?? `[${message.kind}]`);
  const bubble = element("div", { className: "note" },
    ...(recalled ? [text] : linked(text)),
    element("small", { title: message.reason ?? (mark || state) },
      edited ? element("span", { className: "edited", title: `Edited ${new Date(edited).toLocaleString()}` }, "edited ") : null,
      clock(message.time),
      sign ? element("span", { className: `sign ${mark}` }, ` ${sign}`) : null),
  );
  Object.assign(bubble.dataset, { state, mark: mark ?? "", seq: seq ?? "", text: recalled ? "" : (message.content.text ?? "") });
  const item = element("li", {}, bubble);
  item.className = ["row", own && "own", turn && "turn", recalled && "recalled", state === "failed" && "failed"]
    .filter(Boolean).join(" ");
  if (seq === undefined || recalled) return item;
  bubble.addEventListener("click", ({ target }) => {
    // With a mouse a click selects text; the button is for that.
    if (matchMedia("(hover: none)").matches && !target.closest("a")) openMenu(seq);
  });
  item.append(moreButton(seq, text));
  if (message.reactions.length > 0) {
    item.append(element("div", { className: "chips" }, ...message.reactions.map((reaction) => chip(seq, reaction))));
  }
  return item;
}

function moreButton(seq, text) {
  const button = element("button", { className: "more", title: "React, edit, recall", tabIndex: -1, onclick: () => openMenu(seq) }, "⋯");
  button.dataset.part = "more";
  button.setAttribute("aria-haspopup", "true");
  button.setAttribute("aria-label", `Actions on: ${text.slice(0, 60)}`);
  return button;
}

function chip(seq, { emoji, actors }) {
  const own = actors.includes(chat.actor);
  const who = actors.slice(0, 20).map((actor) => (actor === chat.actor ? "you" : nameOf(actor))).join(", ");
  const button = element("button", { className: "chip", title: who, onclick: () => toggle(seq, emoji) },
    element("span", {}, emoji), element("b", {}, String(actors.length)));
  button.dataset.part = `chip ${emoji}`;
  button.dataset.test = `chip-${emoji}`;
  button.setAttribute("aria-pressed", String(own));
  button.setAttribute("aria-label", `${emoji}, ${actors.length}: ${who}`);
  return button;
}

function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, at) =>
    at % 2 ? element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part);
}

/* Acts on messages */

const reactionsOf = (seq) => visible().find((message) => message.seq === seq)?.reactions ?? [];
const hasReacted = (seq, emoji) =>
  reactionsOf(seq).some((reaction) => reaction.emoji === emoji && reaction.actors.includes(chat.actor));

function toggle(seq, emoji) {
  if (hasReacted(seq, emoji)) chat.unreact(current.id, seq, emoji);
  else chat.react(current.id, seq, emoji);
  showMessages();
}

let menuOf = null;

const rowOf = (seq) => document.querySelector(`#messages .note[data-seq="${seq}"]`)?.parentElement;

function openMenu(seq) {
  const message = current.list.get(seq);
  if (!message || message.recalled) return;
  const own = message.sender === chat.actor;
  const action = (text, test, onclick, className = "") => {
    const button = element("button", { className, onclick }, text);
    button.dataset.test = test;
    return button;
  };
  const recall = own ? action("Recall", "recall", () => {
    // It can't be undone, so it takes a second press.
    if (!recall.classList.contains("sure")) {
      recall.classList.add("sure");
      recall.textContent = "Recall for everyone?";
      return placeMenu();
    }
    $("menu").hidePopover();
    chat.recall(current.id, seq);
    showMessages();
  }) : null;
  const edit = own && message.kind === "text"
    ? action("Edit", "edit", () => { $("menu").hidePopover(); beginEdit(seq); }) : null;
  const reactions = REACTIONS.map((emoji) => {
    const button = action(emoji, `react-${emoji}`, () => { $("menu").hidePopover(); toggle(seq, emoji); }, "emoji");
    button.setAttribute("aria-pressed", String(hasReacted(seq, emoji)));
    button.setAttribute("aria-label", `React with ${emoji}`);
    return button;
  });
  $("menu").replaceChildren(
    element("div", { className: "reactions" }, ...reactions),
    ...(own ? [element("div", { className: "acts" }, ...[edit, recall].filter(Boolean))] : []),
  );
  $("menu").showPopover();
  menuOf = seq;
  rowOf(seq)?.classList.add("open");
  placeMenu();
  reactions[0].focus({ preventScroll: true });
}

/** Puts the menu above its message, or below where there is no room. */
function placeMenu() {
  if (menuOf === null) return;
  const item = rowOf(menuOf);
  const list = $("messages").getBoundingClientRect();
  const bubble = item?.querySelector(".note").getBoundingClientRect();
  if (!item?.querySelector(".more") || bubble.bottom < list.top || bubble.top > list.bottom) return $("menu").hidePopover();
  item.classList.add("open");
  const { offsetWidth: width, offsetHeight: height } = $("menu");
  const left = item.classList.contains("own") ? bubble.right - width : bubble.left;
  const above = bubble.top - height - 6;
  const top = above < list.top ? Math.min(bubble.bottom + 6, innerHeight - height - 8) : above;
  $("menu").style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  $("menu").style.top = `${top}px`;
}

addEventListener("resize", placeMenu);
$("menu").addEventListener("toggle", ({ newState }) => {
  if (newState !== "closed" || $("menu").matches(":popover-open")) return;
  for (const item of document.querySelectorAll("#messages .open")) item.classList.remove("open");
  const item = rowOf(menuOf);
  menuOf = null;
  if (document.activeElement === document.body) item?.querySelector(".more")?.focus({ preventScroll: true });
});
$("menu").addEventListener("keydown", (pressed) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[pressed.key];
  if (!step) return;
  pressed.preventDefault();
  const buttons = [...$("menu").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement) + step;
  buttons.at(at % buttons.length).focus();
});

/* One message at a time can be reached with Tab; the arrows go on from there. */
$("messages").addEventListener("keydown", (pressed) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
  if (!step || !pressed.target.matches(".more")) return;
  pressed.preventDefault();
  const buttons = [...$("messages").querySelectorAll(".more")];
  const next = buttons[buttons.indexOf(pressed.target) + step];
  if (!next) return;
  next.focus();
  next.closest("li").scrollIntoView({ block: "nearest" });
});
$("messages").addEventListener("focusin", ({ target }) => {
  const button = target.closest("li")?.querySelector(".more");
  if (!button) return;
  for (const other of $("messages").querySelectorAll(".more")) other.tabIndex = -1;
  button.tabIndex = 0;
});

/* Writing */

function beginEdit(seq) {
  const message = current.list.get(seq);
  if (!message || message.recalled || message.sender !== chat.actor || message.kind !== "text") return;
  endEdit();
  current.editing = seq;
  $("editing").querySelector("[data-part=was]").textContent = message.content.text;
  $("editing").hidden = false;
  $("submit").textContent = "✓";
  $("submit").setAttribute("aria-label", "Save");
  $("text").value = message.content.text;
  grow();
  $("text").focus();
}

/** Ends an edit, and puts back what was being written before it. */
function endEdit() {
  if (!current?.editing) return;
  current.editing = null;
  $("editing").hidden = true;
  $("submit").textContent = "➤";
  $("submit").setAttribute("aria-label", "Send");
  $("text").value = current.draft ?? "";
  grow();
}

$("editing").querySelector("button").addEventListener("click", () => {
  endEdit();
  $("text").focus();
});

$("write").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const text = $("text").value.trim();
  if (!text || !current) return;
  const { editing } = current;
  if (editing) {
    const { content } = current.list.get(editing);
    endEdit();
    if (text !== content.text) chat.edit(current.id, editing, { ...content, text });
    return showMessages();
  }
  chat.send(current.id, { text });
  $("text").value = current.draft = "";
  grow();
  showMessages(true);
});
$("text").addEventListener("keydown", (pressed) => {
  if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.isComposing) {
    pressed.preventDefault();
    $("write").requestSubmit();
  } else if (pressed.key === "Escape") {
    endEdit();
  } else if (pressed.key === "ArrowUp" && $("text").value === "" && current) {
    const own = ({ sender, kind, recalled }) => sender === chat.actor && kind === "text" && !recalled;
    const last = current.list.messages.findLast(own);
    if (!last) return;
    pressed.preventDefault();
    beginEdit(last.seq);
  }
});
$("text").addEventListener("input", () => {
  if (current && !current.editing) current.draft = $("text").value;
  if (current && $("text").value.trim()) chat.typing(current.id);
  grow();
});

function grow() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight}px`;
}

chat.connect(localStorage.token);
