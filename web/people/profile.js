// The profile of a person, with contact requests and blocking.

import { element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed } from "../shell/bus.js";
import { openDirect } from "../chat/conversations.js";
import { closePanel, openPanel, redrawPanel, startPanel } from "../shell/panel.js";
import {
  action,
  area,
  buttons,
  entry,
  field,
  form,
  input,
  lines,
  quiet,
  dangerButton,
} from "../shell/panel-widgets.js";
import {
  loadPresence,
  note,
  nameOf,
  now,
  personOf,
  portrait,
  presenceOf,
  storePeople,
  presenceText,
} from "./people.js";
import { friendOf, loadContacts } from "./contacts.js";
import { acts } from "../chat/message-list.js";

const entries = [];

/** Adds an entry to the pages of people: (actor) → {text, test, icon, page, note?, badge?} or null. */
export const addPersonEntry = (make) => entries.push(make);

/** Returns the profile page of a person. */
export const personPage = (actor) => ({ title: "Profile", test: "profile", build: (body) => build(body, actor) });

acts.openPerson = (actor) => (actor === chat.actor ? undefined : startPanel(personPage(actor)));

async function build(body, actor) {
  const since = now();
  const [profile] = await Promise.all([chat.call("users.profile", { actor }), loadPresence([actor])]);
  const { display_name, name, avatar } = profile;
  storePeople([{ actor, display_name, name, avatar }], since);
  const presence = presenceOf(actor);
  body.append(head(profile, presence));
  if (profile.bio) body.append(lines(profile.bio));
  body.append(facts(profile));
  if (profile.relation === "self") return;
  if (profile.relation === "blocked") {
    body.append(
      quiet("You blocked this user. Neither of you can write to the other.", "blocked-note"),
      buttons(action("Unblock", "unblock", done(actor, "users.unblock", `${nameOf(actor)} is unblocked.`))),
    );
    return;
  }
  body.append(
    buttons(
      action(
        "Message",
        "message",
        async () => {
          await openDirect(actor);
          if (matchMedia("(max-width: 60rem)").matches) closePanel();
        },
        { className: "main" },
      ),
      ...friendship(profile),
    ),
  );
  body.append(
    ...entries
      .map((make) => make(actor))
      .filter(Boolean)
      .map(({ text, test, icon, page, note, badge }) =>
        entry(text, test, () => openPanel(page), { icon, note, badge }),
      ),
  );
  if (profile.relation === "friend") body.append(...notes(actor));
  body.append(
    buttons(
      ...(profile.relation === "friend"
        ? [
            dangerButton(
              "Remove contact",
              `Remove ${nameOf(actor)} from your contacts?`,
              "remove-friend",
              done(actor, "users.remove_friend"),
            ),
          ]
        : []),
      dangerButton(
        "Block",
        `Block ${nameOf(actor)}?`,
        "block",
        done(actor, "users.block", `${nameOf(actor)} is blocked.`),
      ),
    ),
  );
}

function head({ actor, display_name, name, avatar }, presence) {
  const remark = personOf(actor)?.remark;
  const picture = portrait(nameOf(actor), { picture: avatar });
  picture.classList.add("large");
  const state = element("p", { className: `state ${presence.state}` }, presenceText(presence));
  state.dataset.test = "presence";
  return element(
    "header",
    { className: "head" },
    picture,
    element("h3", {}, nameOf(actor)),
    element("p", { className: "quiet" }, remark ? `${display_name} · @${name}` : `@${name}`),
    state,
  );
}

function facts({ locale, time_zone, fields }) {
  const found = [
    ["Language", locale && languageName(locale)],
    ["Local time", time_zone && localTime(time_zone)],
    ...Object.entries(fields ?? {}).map(([name, value]) => [name.replaceAll("_", " "), String(value)]),
  ];
  const shown = found.filter(([, value]) => value);
  return element(
    "dl",
    { hidden: shown.length === 0 },
    ...shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
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

/** Returns a function that calls a method about a person and updates the page. */
const done =
  (actor, method, said, params = {}) =>
  async () => {
    await chat.call(method, { actor, ...params });
    if (said) showNotice(said, true);
    await loadContacts();
    redrawPanel("profile");
  };

function friendship({ actor, relation }) {
  switch (relation) {
    case "none":
      return [action("Add contact", "request-friend", async () => openPanel(requestPage(actor)))];
    case "requested":
      return [action("Cancel request", "withdraw-friend", done(actor, "users.withdraw_friend"))];
    case "requests":
      return [
        action("Accept", "accept-friend", done(actor, "users.accept_friend", `${nameOf(actor)} is now a contact.`)),
        action("Decline", "refuse-friend", done(actor, "users.refuse_friend")),
      ];
    default:
      return [];
  }
}

const requestPage = (actor) => ({
  title: `Add ${nameOf(actor)}`,
  test: "request",
  build(body) {
    const text = area({ maxLength: 200, placeholder: "Hello, it is me." });
    body.append(
      form(
        "request-form",
        "Send request",
        [
          field(
            "Message (optional)",
            text,
            "request-text",
            "You see each other's presence once the request is accepted.",
          ),
        ],
        async () => {
          const { state } = await chat.call("users.request_friend", { actor, text: text.value });
          showNotice(state === "friends" ? `${nameOf(actor)} is now a contact.` : "Request sent.", true);
          await loadContacts();
          startPanel(personPage(actor));
        },
      ),
    );
  },
});

function notes(actor) {
  const { remark = "", tags = [] } = friendOf(actor) ?? {};
  const called = input({ value: remark, maxLength: 64, placeholder: personOf(actor)?.display_name });
  const tagged = input({ value: tags.join(", "), placeholder: "work, chess" });
  return [
    form(
      "notes",
      "Save",
      [
        field("Nickname", called, "remark", "Only you see this."),
        field("Tags", tagged, "tags", "Separated by commas."),
      ],
      async () => {
        const words = tagged.value
          .split(",")
          .map((word) => word.trim())
          .filter(Boolean);
        await chat.call("users.set_friend", { actor, remark: called.value, tags: words });
        note(actor, called.value.trim());
        await loadContacts();
        changed("list");
        redrawPanel("profile");
      },
      "Saved.",
    ),
  ];
}

chat.addEventListener("signal", ({ detail: { plugin, name } }) => {
  if (plugin === "users" && (name === "friend" || name === "block")) redrawPanel("profile");
});
