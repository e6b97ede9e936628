// The page of a person, and what can be done about them: friends, block.

import { element, tell } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed } from "../shell/bus.js";
import { talkTo } from "../chat/conversations.js";
import { closePanel, openPanel, redrawPanel, startPanel } from "../shell/panel.js";
import { action, area, buttons, entry, field, form, input, lines, quiet, risky } from "../shell/panel-widgets.js";
import { look, note, nameOf, now, personOf, portrait, presenceOf, remember, wordsFor } from "./people.js";
import { friendOf, loadContacts } from "./contacts.js";
import { acts } from "../chat/message-list.js";

const entries = [];

/** Adds an entry to the pages of people: (actor) → {text, test, icon, page, note?, badge?} or null. */
export const addPersonEntry = (make) => entries.push(make);

/** Returns the page of somebody. */
export const personPage = (actor) => ({ title: "Profile", test: "profile", build: (body) => build(body, actor) });

acts.openPerson = (actor) => actor === chat.actor ? undefined : startPanel(personPage(actor));

async function build(body, actor) {
  const since = now();
  const [profile] = await Promise.all([chat.call("users.profile", { actor }), look([actor])]);
  const { display_name, name, avatar } = profile;
  remember([{ actor, display_name, name, avatar }], since);
  const presence = presenceOf(actor);
  body.append(head(profile, presence));
  if (profile.bio) body.append(lines(profile.bio));
  body.append(facts(profile));
  if (profile.relation === "self") return;
  if (profile.relation === "blocked") {
    body.append(quiet("You don't hear from each other as long as you block this person.", "blocked-note"),
      buttons(action("Unblock", "unblock", done(actor, "users.unblock", `${nameOf(actor)} is not blocked any more.`))));
    return;
  }
  body.append(buttons(
    action("Message", "message", async () => {
      await talkTo(actor);
      if (matchMedia("(max-width: 60rem)").matches) closePanel();
    }, { className: "main" }),
    ...friendship(profile)));
  body.append(...entries.map((make) => make(actor)).filter(Boolean).map(({ text, test, icon, page, note, badge }) =>
    entry(text, test, () => openPanel(page), { icon, note, badge })));
  if (profile.relation === "friend") body.append(...notes(actor));
  body.append(buttons(
    ...(profile.relation === "friend"
      ? [risky("Remove contact", `Remove ${nameOf(actor)} from your contacts?`, "remove-friend", done(actor, "users.remove_friend"))] : []),
    risky("Block", `Block ${nameOf(actor)}?`, "block", done(actor, "users.block", "Blocked: you don't hear from each other any more."))));
}

function head({ actor, display_name, name, avatar }, presence) {
  const remark = personOf(actor)?.remark;
  const picture = portrait(nameOf(actor), { picture: avatar });
  picture.classList.add("large");
  const state = element("p", { className: `state ${presence.state}` }, wordsFor(presence));
  state.dataset.test = "presence";
  return element("header", { className: "head" }, picture,
    element("h3", {}, nameOf(actor)),
    element("p", { className: "quiet" }, remark ? `${display_name} · @${name}` : `@${name}`), state);
}

function facts({ locale, time_zone, fields }) {
  const found = [["Language", locale && languageName(locale)], ["Local time", time_zone && localTime(time_zone)],
    ...Object.entries(fields ?? {}).map(([name, value]) => [name.replaceAll("_", " "), String(value)])];
  const shown = found.filter(([, value]) => value);
  return element("dl", { hidden: shown.length === 0 },
    ...shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function languageName(locale) {
  try {
    return new Intl.DisplayNames([document.documentElement.lang], { type: "language" }).of(locale);
  } catch {
    return locale;
  }
}

function localTime(zone) {
  try {
    return `${new Date().toLocaleTimeString([], { timeZone: zone, hour: "2-digit", minute: "2-digit" })} (${zone})`;
  } catch {
    return zone;
  }
}

/** Calls a method about somebody, and shows what became of it. */
const done = (actor, method, said, params = {}) => async () => {
  await chat.call(method, { actor, ...params });
  if (said) tell(said, true);
  await loadContacts();
  redrawPanel("profile");
};

function friendship({ actor, relation }) {
  switch (relation) {
    case "none":
      return [action("Add to contacts", "request-friend", async () => openPanel(requestPage(actor)))];
    case "requested":
      return [action("Withdraw the request", "withdraw-friend", done(actor, "users.withdraw_friend"))];
    case "requests":
      return [
        action("Accept", "accept-friend", done(actor, "users.accept_friend", `${nameOf(actor)} is among your contacts now.`)),
        action("Refuse", "refuse-friend", done(actor, "users.refuse_friend")),
      ];
    default:
      return [];
  }
}

const requestPage = (actor) => ({
  title: `Ask ${nameOf(actor)}`,
  test: "request",
  build(body) {
    const text = area({ maxLength: 200, placeholder: "Hello, it is me." });
    body.append(form("request-form", "Send the request", [
      field("A few words (optional)", text, "request-text", "You see each other's presence once the request is accepted."),
    ], async () => {
      const { state } = await chat.call("users.request_friend", { actor, text: text.value });
      tell(state === "friends" ? `${nameOf(actor)} is among your contacts now.` : "The request was sent.", true);
      await loadContacts();
      startPanel(personPage(actor));
    }));
  },
});

function notes(actor) {
  const { remark = "", tags = [] } = friendOf(actor) ?? {};
  const called = input({ value: remark, maxLength: 64, placeholder: personOf(actor)?.display_name });
  const tagged = input({ value: tags.join(", "), placeholder: "work, chess" });
  return [form("notes", "Save", [
    field("What you call them", called, "remark", "Only you see this."),
    field("Tags", tagged, "tags", "Words with commas between them."),
  ], async () => {
    const words = tagged.value.split(",").map((word) => word.trim()).filter(Boolean);
    await chat.call("users.set_friend", { actor, remark: called.value, tags: words });
    note(actor, called.value.trim());
    await loadContacts();
    changed("list");
    redrawPanel("profile");
  }, "Saved.")];
}

chat.addEventListener("signal", ({ detail: { plugin, name } }) => {
  if (plugin === "users" && (name === "friend" || name === "block")) redrawPanel("profile");
});
