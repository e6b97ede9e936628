// Groups and discussions: names, permissions and roles.

import { Latest, now } from "../client/latest.js";
import { chat } from "../shell/session.js";
import { changed } from "../shell/bus.js";
import { showNotice } from "../shell/dom.js";
import { loadPeople, nameOf } from "../people/people.js";

const groups = new Map();

/** Pending invitations: {group, name, by, at_ms, until_ms}. */
export let invitations = [];

/** True once the server is known to have groups. */
export let hasGroups = false;

/** Returns {group, form, name, picture, role, notify}, and after `load` also `info`, `membership` and `roles`. */
export const groupOf = (id) => groups.get(id);

/** Returns true if the user has a permission in a loaded group. */
export const may = (id, permission) => Boolean(groups.get(id)?.membership?.permissions.includes(permission));

export const isOwner = (id) => groups.get(id)?.info?.owner === chat.actor;

function storeGroup(group, id) {
  const known = groups.get(id);
  const merged = { ...known, ...group };
  groups.set(id, merged);
  // Pages load a group when drawn: without this check, they would redraw for ever.
  if (JSON.stringify(known) !== JSON.stringify(merged)) changed("groups", { group: id });
  return merged;
}

/** Loads all data of a group, by id. */
const details = Latest.each(async (id) => {
  const of = { group: id };
  const [info, membership, { roles }] = await Promise.all([
    chat.call("groups.info", of),
    chat.call("groups.membership", of),
    chat.call("groups.roles", of),
  ]);
  const { name, picture, form } = info;
  return { group: id, name, picture, form, role: membership.role, notify: membership.notify, info, membership, roles };
}, storeGroup);

/** Loads all pages of a method, up to `most` entries. */
export async function all(method, params, name, most = 1_000) {
  const found = [];
  for (let after; ;) {
    const page = await chat.call(method, {
      ...params,
      limit: 100,
      ...(after === undefined || after === null ? {} : { after }),
    });
    found.push(...page[name]);
    after = page.next;
    if (after === undefined || after === null || found.length >= most) return found;
  }
}

const mine = Latest.each(
  async () => ({ since: now(), groups: await all("groups.mine", {}, "groups") }),
  (answer) => {
    for (const group of answer.groups) details.offer(group.group, group, answer.since);
  },
);

const invited = Latest.each(
  async () => {
    const found = await all("groups.invitations", {}, "invitations");
    await loadPeople(found.map(({ by }) => by));
    return found;
  },
  (found) => {
    invitations = found;
    changed("list");
  },
);

/** Loads the user's groups and invitations. */
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

/** Loads all data of a group and resolves with it. Rejects with `page.left` if the user leaves meanwhile. */
export async function load(id) {
  const group = await details.load(id);
  if (!group) throw Object.assign(new Error("You are no longer a member of this group."), { code: "page.left" });
  return group;
}

export const titleOfRole = (id, role) => groups.get(id)?.roles?.find((one) => one.role === role)?.title ?? role;

/** Reloads a group that was loaded before, after it changed. */
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
    await loadPeople([payload.actor]);
    showNotice(`${nameOf(payload.actor)} wants to join ${groups.get(payload.group)?.name ?? "a group"}.`, true);
    changed("requests", { group: payload.group });
  }
  if (name === "join_refused") showNotice("Your request to join a group was declined.");
});
