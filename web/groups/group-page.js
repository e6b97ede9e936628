// The page of a group or discussion.

import { Latest } from "../client/latest.js";
import { $, attempt, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { on } from "../shell/bus.js";
import { conversationOf, faceOf, titleOf } from "../chat/conversations.js";
import { groupOf, isOwner, load, may, titleOfRole } from "./groups.js";
import {
  action,
  area,
  buttons,
  choice,
  entry,
  field,
  form,
  input,
  lines,
  quiet,
  dangerButton,
  checkbox,
} from "../shell/panel-widgets.js";
import { closePanel, openPanel, redrawPanel, shownPage } from "../shell/panel.js";
import { blobs, squared } from "../shell/pictures.js";
import { announcementsPage } from "./announcements.js";
import { bansPage, membersPage } from "./members.js";
import { invitePage, linksPage, requestsPage } from "./joining.js";
import { pinsPage } from "./pins.js";
import { rolesPage } from "./roles.js";

const entries = [];

/** Adds an entry to the pages of groups: (group id) → {text, test, icon, page, note?, badge?} or null. */
export const addGroupEntry = (make) => entries.push(make);

addGroupEntry((id) => ({
  text: "Members",
  test: "members",
  icon: "👥",
  page: membersPage(id),
  note: String(conversationOf(id).members.length),
}));
addGroupEntry((id) =>
  may(id, "invite") ? { text: "Invite people", test: "invite", icon: "➕", page: invitePage(id) } : null,
);
addGroupEntry((id) =>
  may(id, "invite") ? { text: "Invite links", test: "links", icon: "🔗", page: linksPage(id) } : null,
);
addGroupEntry((id) =>
  may(id, "manage_joins") && groupOf(id).form === "group"
    ? { text: "Join requests", test: "requests", icon: "🚪", page: requestsPage(id), badge: requests.get(id) }
    : null,
);
addGroupEntry((id) => ({ text: "Announcements", test: "announcements", icon: "📣", page: announcementsPage(id) }));
addGroupEntry((id) => ({ text: "Pinned messages", test: "pins", icon: "📌", page: pinsPage(id) }));
addGroupEntry((id) =>
  groupOf(id).form === "group" ? { text: "Roles", test: "roles", icon: "🎭", page: rolesPage(id) } : null,
);
addGroupEntry((id) => (may(id, "ban") ? { text: "Banned users", test: "bans", icon: "🚫", page: bansPage(id) } : null));
addGroupEntry((id) =>
  may(id, "edit_profile") || may(id, "manage_joins") || may(id, "mute_all")
    ? { text: "Group settings", test: "group-settings", icon: "⚙", page: settingsPage(id) }
    : null,
);

/** Number of join requests by group; undefined for none. */
const requests = new Map();
const requestCount = Latest.each(
  async (id) => (await chat.call("groups.requests", { group: id, limit: 100 })).requests.length,
  (count, id) => requests.set(id, count || undefined),
);

/** Returns the page of one of the user's groups. */
export const groupPage = (id) => ({
  title: groupOf(id)?.form === "discussion" ? "Discussion" : "Group",
  test: "group-page",
  build: (body) => build(body, id),
});

async function build(body, id) {
  $("panel").dataset.of = id;
  const { info, role, form: kind } = await load(id);
  if (may(id, "manage_joins") && kind === "group") await requestCount.load(id);
  const picture = faceOf(conversationOf(id)).firstElementChild;
  picture.classList.add("large");
  const standing =
    kind === "discussion" ? "Discussion: all members have the same rights" : `Your role: ${titleOfRole(id, role)}`;
  const rank = quiet(standing, "own-role");
  body.append(element("header", { className: "head" }, picture, element("h3", {}, titleOf(conversationOf(id))), rank));
  if (info.description) body.append(lines(info.description));
  body.append(
    ...entries
      .map((make) => make(id))
      .filter(Boolean)
      .map(({ text, test, icon, page, note, badge }) =>
        entry(text, test, () => openPanel(page), { icon, note, badge }),
      ),
  );
  body.append(notify(id), buttons(...endings(id, kind)));
}

/** Chosen notification rules by group. They are sent one at a time, so that the last choice wins. */
const rules = new Map();
const setRule = Latest.each(
  (id) => chat.call("groups.set_notify", { group: id, notify: rules.get(id) }),
  () => {},
);

function notify(id) {
  const rule = choice(
    [
      ["all", "All messages"],
      ["mentions", "Mentions only"],
      ["none", "None"],
    ],
    groupOf(id).notify,
  );
  rule.addEventListener("change", async () => {
    rules.set(id, rule.value);
    await attempt(async () => {
      await setRule.load(id);
      await load(id);
      showNotice("Saved.", true);
    });
  });
  return field("Notifications", rule, "notify");
}

function endings(id, kind) {
  const done = (method) => async () => {
    await chat.call(method, { group: id });
    closePanel();
  };
  if (kind === "group" && isOwner(id))
    return [
      dangerButton(
        "Delete group",
        "Delete this group for everyone? This can't be undone.",
        "dissolve",
        done("groups.dissolve"),
      ),
    ];
  return [dangerButton(`Leave ${kind}`, `Leave this ${kind}?`, "leave-group", done("groups.leave"))];
}

/* Settings */

const SLOW = [
  [0, "Off"],
  [10, "10 seconds"],
  [30, "30 seconds"],
  [60, "1 minute"],
  [300, "5 minutes"],
  [3600, "1 hour"],
];
const JOINS = [
  ["invite", "Invited people only"],
  ["approval", "People who are approved"],
  ["open", "Anyone with the link"],
];

const settingsPage = (id) => ({
  title: "Group settings",
  test: "group-settings-page",
  build: (body) => settings(body, id),
});

async function settings(body, id) {
  const { info } = await load(id);
  if (may(id, "edit_profile")) body.append(...((await hasFiles()) ? [picture(id, info)] : []), profile(id, info));
  if (may(id, "manage_joins") && info.form === "group") body.append(joining(id, info));
  if (may(id, "mute_all")) body.append(silence(id, info));
}

let files;

/** Resolves with true if the server has the files plugin, which stores pictures of groups. */
function hasFiles() {
  files ??= chat.call("files.usage").then(
    () => true,
    ({ code }) => code !== "unknown_method",
  );
  return files;
}

/** Chosen pictures by group. Uploads of a group run one after the other, so that the last choice wins. */
const chosen = new Map();
const pictures = Latest.each(
  async (id) => {
    const blob = await blobs.upload("files", await squared(chosen.get(id)), { conversation: id }).done;
    await chat.call("groups.edit_profile", { group: id, picture: blob });
  },
  () => {},
);

function picture(id, info) {
  const file = input({ type: "file", accept: "image/*", className: "unseen" });
  file.dataset.test = "group-picture-file";
  file.setAttribute("aria-label", "Group picture");
  file.addEventListener("change", async () => {
    chosen.set(id, file.files[0]);
    try {
      await pictures.load(id);
    } catch (error) {
      showNotice(error.code ? error.message : "This file can't be read as a picture.");
    }
  });
  const shown = faceOf(conversationOf(id)).firstElementChild;
  shown.classList.add("large");
  return element(
    "header",
    { className: "head" },
    shown,
    file,
    buttons(
      action("Change picture", "choose-group-picture", () => file.click()),
      ...(info.picture
        ? [
            action("Remove picture", "remove-group-picture", () =>
              chat.call("groups.edit_profile", { group: id, picture: "" }),
            ),
          ]
        : []),
    ),
  );
}

function profile(id, info) {
  const name = input({ value: info.name, maxLength: 64, required: info.form === "group" });
  const description = area({ value: info.description, maxLength: 1_000 });
  return form(
    "group-profile",
    "Save",
    [field("Name", name, "group-name"), field("Description", description, "group-description")],
    () => chat.call("groups.edit_profile", { group: id, name: name.value, description: description.value }),
    "Saved.",
  );
}

function joining(id, info) {
  const join = choice(JOINS, info.join);
  const capacity = input({ type: "number", min: 1, value: info.capacity });
  const address = `${location.origin}${location.pathname}#group=${id}`;
  return form(
    "group-joins",
    "Save",
    [
      field("Who can join", join, "join"),
      field("Maximum number of members", capacity, "capacity"),
      ...(info.join === "invite" ? [] : [quiet(`Group link: ${address}`, "group-address")]),
    ],
    async () => {
      await chat.call("groups.configure", { group: id, join: join.value, capacity: Number(capacity.value) });
      redrawPanel("group-settings-page");
    },
    "Saved.",
  );
}

function silence(id, info) {
  const all = checkbox("Mute everybody", "mute-all", info.all_muted);
  const known = SLOW.some(([seconds]) => seconds === info.slow_seconds);
  const options = known ? SLOW : [...SLOW, [info.slow_seconds, `${info.slow_seconds} seconds`]];
  const slow = choice(options, String(info.slow_seconds));
  return form(
    "group-silence",
    "Save",
    [all.node, field("Slow mode: time between two messages of a member", slow, "slow")],
    async () => {
      if (all.box.checked !== info.all_muted) await chat.call("groups.mute_all", { group: id, on: all.box.checked });
      if (Number(slow.value) !== info.slow_seconds)
        await chat.call("groups.slow_mode", { group: id, seconds: Number(slow.value) });
      redrawPanel("group-settings-page");
    },
    "Saved.",
  );
}

const SHOWN = [
  "group-page",
  "group-settings-page",
  "members-page",
  "member-page",
  "roles-page",
  "requests-page",
  "pins-page",
];

on("groups", ({ group }) => {
  // Don't redraw a form that has the focus.
  const isTyping = document.activeElement?.closest("#panel-body form");
  if (group === $("panel").dataset.of && SHOWN.includes(shownPage()) && !isTyping) redrawSoon();
});
on("requests", () => redrawPanel("group-page", "requests-page"));

let waiting;
function redrawSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => redrawPanel(...SHOWN), 100);
}
