// Members of a group: the list, the page of a member, and bans.

import { element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { groupOf, isOwner, load, may, titleOfRole } from "./groups.js";
import { openPanel, redrawPanel, backInPanel } from "../shell/panel.js";
import {
  action,
  buttons,
  choice,
  entry,
  field,
  form,
  input,
  paged,
  quiet,
  dangerButton,
} from "../shell/panel-widgets.js";
import { personRow } from "../people/person-row.js";
import { loadPeople, loadPresence, nameOf } from "../people/people.js";
import { personPage } from "../people/profile.js";
import { permissionTicks } from "./roles.js";

const FOREVER = Number.MAX_SAFE_INTEGER;
const SPANS = [
  ["", "Until lifted"],
  ["600", "10 minutes"],
  ["3600", "1 hour"],
  ["86400", "1 day"],
  ["604800", "1 week"],
];
const until = (time) =>
  time >= FOREVER ? "" : ` until ${new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;

export const membersPage = (id) => ({ title: "Members", test: "members-page", build: (body) => build(body, id) });

async function build(body, id) {
  await load(id);
  const known = new Map();
  body.append(
    await paged("member-list", async (after) => {
      const { members, next } = await chat.call("groups.members", { group: id, ...(after ? { after } : {}) });
      const actors = members.map(({ actor }) => actor);
      await Promise.all([loadPeople(actors), loadPresence(actors)]);
      for (const member of members) known.set(member.actor, member);
      members.sort((left, right) => right.rank - left.rank || nameOf(left.actor).localeCompare(nameOf(right.actor)));
      return { rows: members.map((member) => row(id, member)), next };
    }),
  );
}

function row(id, member) {
  const { actor, role, muted_until_ms: muted } = member;
  const isSelf = actor === chat.actor;
  const tags = [
    ...(role === "member" || groupOf(id).form === "discussion" ? [] : [titleOfRole(id, role)]),
    ...(muted > Date.now() ? ["muted"] : []),
    ...(isSelf ? ["you"] : []),
  ];
  return personRow(actor, {
    tags,
    test: `member-${nameOf(actor)}`,
    onclick: () => openPanel(isSelf ? personPage(actor) : memberPage(id, member)),
  });
}

const memberPage = (id, { actor }) => ({
  title: nameOf(actor),
  test: "member-page",
  build: (body) => one(body, id, actor),
});

/** Finds a member, or undefined. The list is ordered by actor: the search starts at the predecessor of the id. */
async function find(id, actor) {
  const all = await membersUpTo(id, actor);
  return all.find((member) => member.actor === actor);
}

async function membersUpTo(id, actor) {
  const found = [];
  for (let after; ;) {
    const { members, next } = await chat.call("groups.members", { group: id, limit: 100, ...(after ? { after } : {}) });
    found.push(...members);
    after = next;
    if (!after || members.some((member) => member.actor === actor)) return found;
  }
}

async function one(body, id, actor) {
  const [, member] = await Promise.all([load(id), find(id, actor)]);
  if (!member) return void body.append(quiet(`${nameOf(actor)} is no longer a member.`));
  const { membership, form: kind, info } = groupOf(id);
  const below = kind === "group" && member.rank < membership.rank;
  body.append(
    personRow(actor, { tags: kind === "group" ? [titleOfRole(id, member.role)] : [], test: "this-member" }),
    quiet(
      `Member since ${new Date(member.joined_ms).toLocaleDateString([], { dateStyle: "long" })}${
        member.by && member.by !== actor ? `, added by ${nameOf(member.by)}` : ""
      }`,
    ),
    entry("Profile", "member-profile", () => openPanel(personPage(actor)), { icon: "👤" }),
  );
  if (below && may(id, "manage_roles")) body.append(roleForm(id, member), overrides(id, member));
  if (below && may(id, "mute")) body.append(muting(id, member));
  if (below && may(id, "ban")) body.append(banning(id, actor));
  const ends = [
    ...(below && may(id, "remove")
      ? [
          dangerButton("Remove from group", `Remove ${nameOf(actor)} from the group?`, "remove-member", async () => {
            await chat.call("groups.remove", { group: id, actors: [actor] });
            backInPanel();
          }),
        ]
      : []),
    ...(info.owner === chat.actor && isOwner(id)
      ? [
          dangerButton("Make owner", `Make ${nameOf(actor)} the owner? You become an admin.`, "transfer", async () => {
            await chat.call("groups.transfer", { group: id, actor });
            redrawPanel("member-page");
          }),
        ]
      : []),
  ];
  if (ends.length > 0) body.append(buttons(...ends));
}

function roleForm(id, { actor, role }) {
  const { roles, membership } = groupOf(id);
  const free = roles.filter(({ role: one, rank }) => one !== "owner" && rank < membership.rank);
  const select = choice(
    free.map(({ role: one, title }) => [one, title]),
    role,
  );
  return form(
    "role-form",
    "Change role",
    [field("Role", select, "member-role")],
    async () => {
      await chat.call("groups.set_role", { group: id, actor, role: select.value });
      redrawPanel("member-page");
    },
    "Saved.",
  );
}

/** Returns the form with exceptions to the role of a member. */
function overrides(id, { actor, allow, deny }) {
  const more = permissionTicks(id, allow, "allow");
  const less = permissionTicks(id, deny, "deny");
  const node = form(
    "overrides-form",
    "Save",
    [
      element("fieldset", {}, element("legend", {}, "Also allowed"), ...more.nodes),
      element("fieldset", {}, element("legend", {}, "Not allowed"), ...less.nodes),
    ],
    async () => {
      await chat.call("groups.set_overrides", { group: id, actor, allow: more.chosen(), deny: less.chosen() });
      redrawPanel("member-page");
    },
    "Saved.",
  );
  const details = element(
    "details",
    { open: allow.length + deny.length > 0 },
    element("summary", {}, "Exceptions for this member"),
    node,
  );
  details.firstElementChild.dataset.test = "overrides";
  return details;
}

function muting(id, { actor, muted_until_ms: muted }) {
  if (muted > Date.now()) {
    return buttons(
      quiet(`Muted${until(muted)}.`, "muted-note"),
      action("Unmute", "unmute", async () => {
        await chat.call("groups.unmute", { group: id, actor });
        redrawPanel("member-page");
      }),
    );
  }
  const span = choice(SPANS, "3600");
  return form("mute-form", "Mute", [field("Mute", span, "mute-span")], async () => {
    await chat.call("groups.mute", { group: id, actor, ...(span.value ? { seconds: Number(span.value) } : {}) });
    redrawPanel("member-page");
  });
}

function banning(id, actor) {
  const span = choice(SPANS, "");
  const reason = input({ maxLength: 200 });
  const node = element(
    "details",
    {},
    element("summary", {}, "Ban from group"),
    form(
      "ban-form",
      "Ban",
      [field("Duration", span, "ban-span"), field("Reason (optional)", reason, "ban-reason")],
      async () => {
        await chat.call("groups.ban", {
          group: id,
          actor,
          reason: reason.value,
          ...(span.value ? { seconds: Number(span.value) } : {}),
        });
        backInPanel();
      },
      `${nameOf(actor)} is banned.`,
    ),
  );
  node.firstElementChild.dataset.test = "ban";
  return node;
}

/* Bans */

export const bansPage = (id) => ({ title: "Banned users", test: "bans-page", build: (body) => bans(body, id) });

async function bans(body, id) {
  body.append(
    await paged(
      "ban-list",
      async (after) => {
        const { bans: found, next } = await chat.call("groups.bans", { group: id, ...(after ? { after } : {}) });
        await loadPeople(found.flatMap(({ actor, by }) => [actor, by]));
        return { rows: found.map((ban) => banRow(id, ban)), next };
      },
      "No banned users.",
    ),
  );
}

function banRow(id, { actor, by, reason, until_ms: end }) {
  const line = `by ${nameOf(by)}${until(end)}${reason ? `: ${reason}` : ""}`;
  return personRow(actor, {
    line,
    dot: false,
    test: `banned-${nameOf(actor)}`,
    actions: [
      action(
        "Unban",
        `unban-${nameOf(actor)}`,
        async () => {
          await chat.call("groups.unban", { group: id, actor });
          redrawPanel("bans-page");
        },
        { className: "small" },
      ),
    ],
  });
}
