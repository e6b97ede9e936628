// Joining groups: new groups, invitations, links and requests.

import { $, element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed, on } from "../shell/bus.js";
import { openPopupMenu } from "../shell/popup-menu.js";
import { conversationOf, enterGroup } from "../chat/conversations.js";
import { hasGroups, load } from "./groups.js";
import { closePanel, openPanel, redrawPanel, startPanel } from "../shell/panel.js";
import { action, area, buttons, choice, field, form, input, lines, paged, quiet } from "../shell/panel-widgets.js";
import { personRow } from "../people/person-row.js";
import { loadPeople, nameOf, portrait } from "../people/people.js";
import { picker } from "../people/person-picker.js";

/* New groups and discussions */

$("new").addEventListener("click", () =>
  openPopupMenu($("new"), "New", [
    { text: "New group", test: "new-group", run: () => startPanel(newGroupPage) },
    { text: "New discussion", test: "new-discussion", run: () => startPanel(newDiscussionPage) },
  ]),
);
on("groups list", () => ($("new").hidden = !hasGroups));
$("new").hidden = true;

async function create(params) {
  const { group } = await chat.call("groups.create", params);
  closePanel();
  await enterGroup(group);
}

const newGroupPage = {
  title: "New group",
  test: "new-group-page",
  build(body) {
    const name = input({ maxLength: 64, required: true });
    const description = area({ maxLength: 1_000 });
    const people = picker("members");
    body.append(
      form(
        "create-group",
        "Create group",
        [
          field("Name", name, "new-group-name"),
          field("Description (optional)", description, "new-group-description"),
          people.node,
        ],
        () => create({ name: name.value, description: description.value, members: people.chosen() }),
      ),
    );
  },
};

const newDiscussionPage = {
  title: "New discussion",
  test: "new-discussion-page",
  build(body) {
    const name = input({ maxLength: 64 });
    const people = picker("members");
    body.append(
      quiet("All members of a discussion have the same rights. It ends when the last one leaves."),
      form("create-discussion", "Start", [field("Topic (optional)", name, "new-discussion-name"), people.node], () =>
        create({ form: "discussion", name: name.value, members: people.chosen() }),
      ),
    );
  },
};

/* Invitations */

export const invitePage = (id) => ({
  title: "Invite people",
  test: "invite-page",
  build(body) {
    const people = picker("invited", conversationOf(id).members);
    body.append(
      form("invite-form", "Invite", [people.node], async () => {
        const actors = people.chosen();
        if (actors.length === 0) return showNotice("Select at least one person.");
        const { added, invited } = await chat.call("groups.invite", { group: id, actors });
        const said = [added.length > 0 && `${added.length} joined`, invited.length > 0 && `${invited.length} invited`];
        showNotice(`${said.filter(Boolean).join(", ") || "All of them are members already"}.`, true);
        people.clear();
      }),
    );
  },
});

/* Links */

const SPANS = [
  ["", "7 days"],
  ["3600", "1 hour"],
  ["86400", "1 day"],
  ["2592000", "30 days"],
  ["0", "No expiry"],
];

const addressOf = (code) => `${location.origin}${location.pathname}#join=${code}`;

export const linksPage = (id) => ({ title: "Invite links", test: "links-page", build: (body) => links(body, id) });

async function links(body, id) {
  const span = choice(SPANS, "");
  const uses = input({ type: "number", min: 1, placeholder: "unlimited" });
  body.append(
    form(
      "link-form",
      "Create link",
      [field("Valid for", span, "link-span"), field("Uses", uses, "link-uses")],
      async () => {
        await chat.call("groups.create_link", {
          group: id,
          ...(span.value === "" ? {} : { seconds: Number(span.value) }),
          ...(uses.value ? { uses: Number(uses.value) } : {}),
        });
        redrawPanel("links-page");
      },
    ),
  );
  body.append(
    await paged(
      "link-list",
      async (after) => {
        const { links: found, next } = await chat.call("groups.links", { group: id, ...(after ? { after } : {}) });
        await loadPeople(found.map(({ by }) => by));
        return { rows: found.map(linkRow), next };
      },
      "No active links.",
    ),
  );
}

function linkRow({ code, by, until_ms: until, uses, used }) {
  const end =
    until >= Number.MAX_SAFE_INTEGER
      ? "no expiry"
      : `until ${new Date(until).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
  const address = input({ value: addressOf(code), readOnly: true, onfocus: ({ target }) => target.select() });
  address.dataset.test = "link-address";
  address.setAttribute("aria-label", "Invite link");
  return element(
    "div",
    { className: "row link" },
    address,
    action(
      "Copy",
      "copy-link",
      async () => {
        address.focus();
        // Without TLS, browsers have no clipboard: the user copies the selection.
        await navigator.clipboard?.writeText(address.value);
        showNotice(navigator.clipboard ? "Copied." : "Selected: copy it with the keyboard.", true);
      },
      { className: "small" },
    ),
    action(
      "Revoke",
      "revoke-link",
      async () => {
        await chat.call("groups.revoke_link", { code });
        redrawPanel("links-page");
      },
      { className: "small" },
    ),
    element("small", { className: "quiet" }, `by ${nameOf(by)} · ${end} · used ${used}${uses ? ` of ${uses}` : ""}`),
  );
}

/* Invite links (#join=CODE) and group links (#group=ID) */

function wanted() {
  const hash = new URLSearchParams(location.hash.slice(1));
  return { code: hash.get("join"), group: hash.get("group") };
}

const forget = () => history.replaceState(history.state, "", location.pathname + location.search);

function comeIn() {
  const { code, group } = wanted();
  if (chat.state !== "online" || (!code && !group)) return;
  forget();
  startPanel(code ? byLink(code) : byAddress(group));
}
chat.addEventListener("state", ({ detail: { state } }) => {
  if (state === "online") comeIn();
});
addEventListener("hashchange", comeIn);

function preview({ name, description, members, capacity, picture }) {
  const face = portrait(name || "Discussion", { plugin: "files", picture, shape: "group" });
  face.classList.add("large");
  return [
    element(
      "header",
      { className: "head" },
      face,
      element("h3", {}, name || "A discussion"),
      quiet(`${members} of ${capacity} members`),
    ),
    ...(description ? [lines(description)] : []),
  ];
}

async function enter(group) {
  closePanel();
  await enterGroup(group);
}

const byLink = (code) => ({
  title: "Invitation",
  test: "join-page",
  async build(body) {
    const info = await chat.call("groups.open_link", { code });
    body.append(
      ...preview(info),
      buttons(
        action(
          "Join",
          "join-by-link",
          async () => {
            try {
              await chat.call("groups.join_link", { code });
            } catch (error) {
              if (error.code !== "groups.conflict") throw error;
            }
            await enter(info.group);
          },
          { className: "main" },
        ),
      ),
    );
  },
});

const byAddress = (group) => ({
  title: "Group",
  test: "join-page",
  async build(body) {
    const info = await chat.call("groups.info", { group });
    if (info.is_member) return enter(group);
    const note = input({ maxLength: 200 });
    body.append(...preview(info));
    body.append(
      info.join === "open" || info.join === "invite"
        ? buttons(
            action(
              "Join",
              "join-group",
              async () => {
                await chat.call(info.join === "open" ? "groups.join" : "groups.accept", { group });
                await enter(group);
              },
              { className: "main" },
            ),
          )
        : form("ask-form", "Request to join", [field("Message (optional)", note, "ask-note")], async () => {
            const { joined } = await chat.call("groups.join", { group, note: note.value });
            if (joined) return enter(group);
            body.replaceChildren(
              quiet("Request sent. You join the group once it is approved.", "asked-note"),
              buttons(
                action("Cancel request", "withdraw-request", async () => {
                  await chat.call("groups.withdraw", { group });
                  closePanel();
                }),
              ),
            );
          }),
    );
  },
});

/* Requests to join */

export const requestsPage = (id) => ({
  title: "Join requests",
  test: "requests-page",
  build: (body) => requests(body, id),
});

async function requests(body, id) {
  body.append(
    await paged(
      "request-list",
      async (after) => {
        const { requests: found, next } = await chat.call("groups.requests", {
          group: id,
          ...(after ? { after } : {}),
        });
        await loadPeople(found.map(({ actor }) => actor));
        return { rows: found.map((request) => requestRow(id, request)), next };
      },
      "No join requests.",
    ),
  );
}

function requestRow(id, { actor, note }) {
  const answer = (text, method, className) =>
    action(
      text,
      `${method}-${nameOf(actor)}`,
      async () => {
        await chat.call(`groups.${method}`, { group: id, actor });
        await load(id);
        changed("requests", { group: id });
      },
      { className },
    );
  return personRow(actor, {
    line: note || "wants to join",
    dot: false,
    test: `request-${nameOf(actor)}`,
    actions: [answer("Approve", "approve", "main small"), answer("Decline", "refuse", "small")],
  });
}
