// What the page knows of groups and discussions: names, what one may do, roles.

import { Latest, now } from "../client/latest.js";
import { chat } from "../shell/session.js";
import { changed } from "../shell/bus.js";
import { tell } from "../shell/dom.js";
import { learn, nameOf } from "../people/people.js";

const groups = new Map();

/** Invitations that wait for an answer: {group, name, by, at_ms, until_ms}. */
export let invitations = [];

/** Whether the server has groups at all. */
export let hasGroups = false;

/** Returns {group, form, name, picture, role, notify}, and `info`, `membership` and `roles` once it was loaded. */
export const groupOf = (id) => groups.get(id);

/** Whether one may do something in a group that was loaded. */
export const may = (id, permission) => Boolean(groups.get(id)?.membership?.permissions.includes(permission));

export const isOwner = (id) => groups.get(id)?.info?.owner === chat.actor;

function keep(group, id) {
  const known = groups.get(id);
  const merged = { ...known, ...group };
  groups.set(id, merged);
  // Pages load what they show, and are drawn anew when it changed.
  if (JSON.stringify(known) !== JSON.stringify(merged)) changed("groups", { group: id });
  return merged;
}

/** Everything that is shown of a group, by its id. */
const details = Latest.each(async (id) => {
  const of = { group: id };
  const [info, membership, { roles }] = await Promise.all(
    [chat.call("groups.info", of), chat.call("groups.membership", of), chat.call("groups.roles", of)]);
  const { name, picture, form } = info;
  return { group: id, name, picture, form, role: membership.role, notify: membership.notify, info, membership, roles };
}, keep);

/** Reads all pages of a method that has pages, up to `most` entries. */
export async function all(method, params, name, most = 1_000) {
  const found = [];
  for (let after; ; ) {
    const page = await chat.call(method, { ...params, limit: 100, ...(after === undefined || after === null ? {} : { after }) });
    found.push(...page[name]);
    after = page.next;
    if (after === undefined || after === null || found.length >= most) return found;
  }
}

const mine = Latest.each(async () => ({ since: now(), groups: await all("groups.mine", {}, "groups") }), (answer) => {
  for (const group of answer.groups) details.offer(group.group, group, answer.since);
});

const invited = Latest.each(async () => {
  const found = await all("groups.invitations", {}, "invitations");
  await learn(found.map(({ by }) => by));
  return found;
}, (found) => {
  invitations = found;
  changed("list");
});

/** Asks for what is shown of all groups that one is in, and for invitations. */
export async function loadMine() {
  try {
    await mine.load("mine");
    hasGroups = true;
    await loadInvitations();
  } catch (error) {
    if (error.code !== "unknown_method") throw error;
  }
}

export const loadInvitations = () => invited.load("invitations");

/** Asks for everything that is needed of a group to show it, and returns it. */
export async function load(id) {
  const group = await details.load(id);
  if (!group) throw Object.assign(new Error("You are no longer a member of this group."), { code: "page.left" });
  return group;
}

export const titleOfRole = (id, role) => groups.get(id)?.roles?.find((one) => one.role === role)?.title ?? role;

/** Has a group that is shown loaded again, because something about it changed. */
export function refresh(id) {
  if (groups.get(id)?.info) load(id).catch(() => {});
}

chat.addEventListener("event", ({ detail: { type, kind, conversation, content } }) => {
  if (type === "members") return refresh(conversation);
  if (type !== "message" || kind !== "custom:group") return;
  const known = groups.get(conversation);
  if (content.event === "profile" && known) {
    details.offer(conversation, { name: content.name, picture: content.picture });
  }
  refresh(conversation);
});

chat.addEventListener("left", ({ detail: { conversation } }) => {
  details.forget(conversation);
  groups.delete(conversation);
});

chat.addEventListener("signal", async ({ detail: { plugin, name, payload } }) => {
  if (plugin !== "groups") return;
  if (name === "invited") return loadInvitations();
  if (name === "join_request") {
    await learn([payload.actor]);
    tell(`${nameOf(payload.actor)} asks to join ${groups.get(payload.group)?.name ?? "a group"}.`, true);
    changed("requests", { group: payload.group });
  }
  if (name === "join_refused") tell("Your request to join a group was refused.");
});
