// Roles of a group and their permissions.

import { element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { groupOf, load, may } from "./groups.js";
import { backInPanel, openPanel } from "../shell/panel.js";
import { action, buttons, entry, field, form, input, quiet, dangerButton, checkbox } from "../shell/panel-widgets.js";

const PERMISSIONS = {
  send: "Write messages",
  send_files: "Send pictures and files",
  send_stickers: "Send stickers",
  react: "React",
  mention_all: "Mention everybody",
  invite: "Invite people",
  manage_joins: "Approve join requests",
  remove: "Remove members",
  ban: "Ban people",
  mute: "Mute members",
  mute_all: "Mute everybody, slow mode",
  pin: "Pin messages",
  announce: "Post announcements",
  edit_profile: "Change name and picture",
  recall_others: "Delete messages of others",
  manage_roles: "Manage roles",
  bypass_mute: "Write while everybody is muted",
  bypass_slow: "Write without waiting in slow mode",
};

/** Returns checkboxes for permissions. The user can't change those that they don't have. */
export function permissionTicks(id, chosen, test, fixed = false) {
  const own = new Set(groupOf(id).membership.permissions);
  const isFixed = (name) => fixed || (!own.has(name) && !chosen.includes(name));
  const ticks = Object.entries(PERMISSIONS).map(([name, label]) => ({
    name,
    ...checkbox(label, `${test}-${name}`, chosen.includes(name), isFixed(name)),
  }));
  return {
    nodes: ticks.map(({ node }) => node),
    chosen: () => ticks.filter(({ box }) => box.checked).map(({ name }) => name),
  };
}

export const rolesPage = (id) => ({ title: "Roles", test: "roles-page", build: (body) => build(body, id) });

async function build(body, id) {
  const { roles } = await load(id);
  body.append(
    ...roles.map((role) =>
      entry(role.title, `role-${role.title}`, () => openPanel(rolePage(id, role)), { note: summary(role) }),
    ),
  );
  if (may(id, "manage_roles")) {
    body.append(buttons(action("New role", "new-role", () => openPanel(newPage(id)), { className: "main" })));
  }
}

const summary = ({ permissions, rank }) =>
  `rank ${rank} · ${permissions.length === Object.keys(PERMISSIONS).length ? "all permissions" : `${permissions.length} permissions`}`;

const rolePage = (id, role) => ({ title: role.title, test: "role-page", build: (body) => edit(body, id, role) });

function parts(id, { title = "", rank = 10, permissions = [] }, fixed) {
  const most = groupOf(id).membership.rank - 1;
  const name = input({ value: title, maxLength: 32, required: true, disabled: fixed });
  const height = input({ type: "number", min: 0, max: most, value: rank, disabled: fixed });
  const may = permissionTicks(id, permissions, "may", fixed);
  return {
    nodes: [
      field("Title", name, "role-title"),
      field(
        "Rank",
        height,
        "role-rank",
        "Members act only on those of lower rank. The owner has 1,000, admins 500, members 0.",
      ),
      element("fieldset", {}, element("legend", {}, "May"), ...may.nodes),
    ],
    read: () => ({ title: name.value, rank: Number(height.value), permissions: may.chosen() }),
  };
}

function edit(body, id, role) {
  const { membership } = groupOf(id);
  const fixed = role.role === "owner" || !may(id, "manage_roles") || role.rank >= membership.rank;
  const { nodes, read } = parts(id, role, fixed);
  if (fixed) return void body.append(...nodes, quiet("You can't change this role."));
  body.append(
    form(
      "role-edit",
      "Save",
      nodes,
      async () => {
        const { rank, ...change } = read();
        await chat.call("groups.change_role", {
          group: id,
          role: role.role,
          ...change,
          ...(rank === role.rank ? {} : { rank }),
        });
        backInPanel();
      },
      "Saved.",
    ),
  );
  if (role.role !== "admin" && role.role !== "member") {
    body.append(
      buttons(
        dangerButton(
          "Delete role",
          "Delete this role? Its members become ordinary members.",
          "remove-role",
          async () => {
            await chat.call("groups.remove_role", { group: id, role: role.role });
            backInPanel();
          },
        ),
      ),
    );
  }
}

const newPage = (id) => ({
  title: "New role",
  test: "new-role-page",
  build(body) {
    const member = groupOf(id).roles.find(({ role }) => role === "member");
    const { nodes, read } = parts(id, { permissions: member?.permissions ?? [] }, false);
    body.append(
      form("role-new", "Create", nodes, async () => {
        await chat.call("groups.add_role", { group: id, ...read() });
        backInPanel();
      }),
    );
  },
});
