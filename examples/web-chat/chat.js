import { Courtyard } from "/client/courtyard.js";

const $ = (id) => document.getElementById(id);
const device = (localStorage.device ??= `web-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`);
const chat = new Courtyard({ url: location.origin.replace(/^http/, "ws") + "/v1/ws", device });
globalThis.chat = chat;

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

$("link").querySelector("button").addEventListener("click", () => chat.connect());

/* Conversations and people */

chat.addEventListener("synced", async ({ detail }) => {
  for (const { id, members, last } of detail) {
    const conversation = room(id);
    conversation.members = members;
    if (last && last.seq > conversation.newest) {
      conversation.newest = last.seq;
      conversation.last = last;
    }
  }
  await learn(detail.flatMap(({ members }) => members));
  showPeople();
  if (current) await fill(current);
});

function room(id) {
  if (!conversations.has(id)) {
    conversations.set(id, { id, members: [], events: new Map(), newest: 0, seen: Number(localStorage[`seen.${id}`] ?? 0) });
  }
  return conversations.get(id);
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
    element("span", { className: "last" }, last?.content.text ?? (conversation ? "" : "Say hello")),
    conversation && conversation !== current && conversation.newest > conversation.seen
      ? element("span", { className: "dot", title: "New messages" }) : null,
  );
  button.dataset.test = `person-${name}`;
  button.setAttribute("aria-current", String(conversation !== undefined && conversation === current));
  return element("li", {}, button);
}

async function talkTo(actor, conversation) {
  if (!conversation) {
    const opened = await chat.call("users.open_direct", { actor });
    conversation = room(opened.conversation);
    conversation.members = [chat.actor, actor];
  }
  current = conversation;
  $("house").classList.add("talking");
  $("empty").hidden = true;
  $("title").textContent = nameOf(actor);
  avatar($("avatar"), nameOf(actor));
  $("text").value = conversation.draft ?? "";
  showMessages(true);
  showPeople();
  $("text").focus();
  await fill(conversation);
}

$("back").addEventListener("click", () => {
  current = null;
  $("house").classList.remove("talking");
  $("empty").hidden = false;
  showPeople();
});

/* Messages */

chat.addEventListener("event", async ({ detail: event }) => {
  const conversation = room(event.conversation);
  conversation.events.set(event.seq, event);
  if (event.seq > conversation.newest) {
    conversation.newest = event.seq;
    conversation.last = event;
  }
  if (conversation.members.length === 0) {
    conversation.members = [event.sender, event.receiver ?? chat.actor];
    await learn(conversation.members);
  }
  if (conversation === current) showMessages();
  showPeople();
});
chat.addEventListener("sent", () => current && showMessages());
chat.addEventListener("refused", ({ detail: { message, error } }) => {
  const conversation = room(message.conversation);
  (conversation.failed ??= []).push({ ...message, reason: error.message });
  if (conversation === current) showMessages(true);
});

/** Fetches what the page does not have of the newest messages. */
async function fill(conversation) {
  const page = await chat.history(conversation.id, { limit: 100 });
  take(conversation, page);
  showMessages(true);
}

function take(conversation, page) {
  for (const event of page.events) conversation.events.set(event.seq, event);
  const last = page.events.at(-1);
  if (last && last.seq >= conversation.newest) {
    conversation.newest = last.seq;
    conversation.last = last;
  }
}

$("messages").addEventListener("scroll", async () => {
  const list = $("messages");
  const conversation = current;
  if (!conversation || conversation.paging || list.scrollTop > 60 || conversation.events.size === 0) return;
  const oldest = Math.min(...conversation.events.keys());
  if (oldest <= 1) return;
  conversation.paging = true;
  try {
    take(conversation, await chat.history(conversation.id, { before: oldest, limit: 100 }));
    const below = list.scrollHeight - list.scrollTop;
    showMessages();
    list.scrollTop = list.scrollHeight - below;
  } finally {
    conversation.paging = false;
  }
});

function showMessages(toEnd = false) {
  const list = $("messages");
  const atEnd = toEnd || list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const events = [...current.events.values()].sort((left, right) => left.seq - right.seq);
  const unsent = chat.unsent.filter((message) => message.conversation === current.id);
  const rows = [];
  let before = null;
  for (const event of events) {
    if (!before || day(before.time) !== day(event.time)) rows.push(element("li", { className: "day" }, day(event.time)));
    rows.push(note(event, event.sender === chat.actor ? "sent" : "", before?.sender !== event.sender));
    before = event;
  }
  for (const message of unsent) rows.push(note({ ...message, sender: chat.actor, time: Date.now() }, "queued"));
  for (const message of current.failed ?? []) {
    rows.push(note({ ...message, sender: chat.actor, time: Date.now() }, "failed"));
  }
  list.replaceChildren(...rows);
  if (atEnd) list.scrollTop = list.scrollHeight;
  current.seen = current.newest;
  localStorage[`seen.${current.id}`] = current.seen;
}

const SIGNS = { sent: "✓", queued: "🕓", failed: "⚠" };

function note(event, state, turn = false) {
  const own = event.sender === chat.actor;
  const sign = SIGNS[state] ? ` ${SIGNS[state]}` : "";
  const row = element("li", { className: `note${own ? " own" : ""}${turn ? " turn" : ""}${state === "failed" ? " failed" : ""}` },
    ...linked(event.content.text ?? `[${event.kind}]`),
    element("small", { title: event.reason ?? state }, clock(event.time) + sign),
  );
  row.dataset.state = state;
  row.dataset.seq = event.seq ?? "";
  row.dataset.text = event.content.text ?? "";
  return row;
}

function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, at) =>
    at % 2 ? element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part);
}

/* Writing */

$("write").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const text = $("text").value.trim();
  if (!text || !current) return;
  chat.send(current.id, { text });
  $("text").value = current.draft = "";
  grow();
  showMessages(true);
});
$("text").addEventListener("keydown", (pressed) => {
  if (pressed.key === "Enter" && !pressed.shiftKey && !pressed.isComposing) {
    pressed.preventDefault();
    $("write").requestSubmit();
  }
});
$("text").addEventListener("input", () => {
  if (current) current.draft = $("text").value;
  grow();
});

function grow() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight}px`;
}

chat.connect(localStorage.token);
