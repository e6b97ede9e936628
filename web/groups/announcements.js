// Announcements of a group: cards in the conversation, the page, and their readers.

import { action, element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { on } from "../shell/bus.js";
import { conversationOf, current, isSeen } from "../chat/conversations.js";
import { kinds, linked } from "../chat/content.js";
import { groupOf, load, may } from "./groups.js";
import { openPanel, redrawPanel, startPanel } from "../shell/panel.js";
import { area, buttons, field, form, heading, paged, dangerButton } from "../shell/panel-widgets.js";
import { personRow } from "../people/person-row.js";
import { ago, loadPeople, nameOf } from "../people/people.js";
import { redraw } from "../chat/message-list.js";

/** Announcements that were marked as seen, as `group/number`. */
const said = new Set();

kinds.set("custom:announcement", {
  show: ({ content, sender, conversation }) =>
    element(
      "div",
      { className: "card" },
      element("strong", {}, "📣 Announcement"),
      element("span", { className: "words" }, ...linked(content.text)),
      ...(knowsReaders(conversation, sender)
        ? [
            action(
              "Seen by",
              `seen-${content.announcement}`,
              () => startPanel(readersPage(conversation, content.announcement, sender)),
              { className: "small" },
            ),
          ]
        : []),
    ),
  preview: ({ content }) => `📣 ${content.text}`,
});

const knowsReaders = (id, by) => by === chat.actor || may(id, "announce");

// Permissions are loaded after the messages.
on("groups", ({ group }) => {
  if (current?.id !== group) return;
  redraw(...current.list.messages.filter(({ kind }) => kind === "custom:announcement").map(({ seq }) => seq));
});

// An announcement counts as seen when its conversation is read.
on("read", () => {
  if (!current || !isSeen(current)) return;
  for (const { kind, sender, content, recalled } of current.list.messages) {
    if (kind !== "custom:announcement" || sender === chat.actor || recalled) continue;
    const key = `${current.id}/${content.announcement}`;
    if (said.has(key)) continue;
    said.add(key);
    const params = { group: current.id, announcement: content.announcement };
    chat.call("groups.mark_seen", params).catch(({ retry }) => retry && said.delete(key));
  }
});

export const announcementsPage = (id) => ({
  title: "Announcements",
  test: "announcements-page",
  build: (body) => build(body, id),
});

async function build(body, id) {
  await load(id);
  if (may(id, "announce")) {
    const text = area({ maxLength: 4_000, required: true });
    body.append(
      form(
        "announce-form",
        "Post",
        [field("New announcement", text, "announcement", "All members get it. You can see who has seen it.")],
        async () => {
          await chat.call("groups.announce", { group: id, text: text.value });
          redrawPanel("announcements-page");
        },
      ),
    );
  }
  body.append(
    await paged(
      "announcement-list",
      async (after) => {
        const { announcements, next } = await chat.call("groups.announcements", {
          group: id,
          ...(after ? { after } : {}),
        });
        await loadPeople(announcements.map(({ by }) => by));
        return { rows: announcements.map((one) => card(id, one)), next };
      },
      "No announcements.",
    ),
  );
}

function card(id, { announcement, text, by, at_ms }) {
  const acts = knowsReaders(id, by)
    ? [
        action("Seen by", `readers-${announcement}`, () => openPanel(readersPage(id, announcement, by)), {
          className: "small",
        }),
        dangerButton("Delete", "Delete this announcement?", `remove-announcement-${announcement}`, async () => {
          await chat.call("groups.remove_announcement", { group: id, announcement });
          redrawPanel("announcements-page");
        }),
      ]
    : [];
  return element(
    "article",
    { className: "card" },
    element("span", { className: "words" }, ...linked(text)),
    element("small", { className: "quiet" }, `${nameOf(by)} · ${ago(at_ms)}`),
    buttons(...acts),
  );
}

/** Returns the page with the readers of an announcement, without its author. */
const readersPage = (id, announcement, by) => ({
  title: "Seen by",
  test: "readers-page",
  async build(body) {
    if (!groupOf(id)?.info) await load(id);
    const params = { group: id, announcement };
    const seen = await paged(
      "seen-list",
      async (after) => {
        const { readers, next } = await chat.call("groups.seen", { ...params, ...(after ? { after } : {}) });
        await loadPeople(readers.map(({ actor }) => actor));
        return {
          rows: readers.map(({ actor, at_ms }) =>
            personRow(actor, { line: ago(at_ms), dot: false, test: `saw-${nameOf(actor)}` }),
          ),
          next,
        };
      },
      "Nobody yet.",
    );
    const unseen = await paged(
      "unseen-list",
      async (after) => {
        const { actors, next } = await chat.call("groups.unseen", { ...params, ...(after ? { after } : {}) });
        await loadPeople(actors);
        const others = actors.filter((actor) => actor !== by);
        return {
          rows: others.map((actor) => personRow(actor, { line: "", dot: false, test: `not-seen-${nameOf(actor)}` })),
          next,
        };
      },
      "Everybody has seen it.",
    );
    const most = conversationOf(id).members.length - 1;
    body.append(
      heading(`Seen by (of ${most})`),
      seen,
      heading("Not seen yet"),
      unseen,
      buttons(action("Refresh", "readers-again", () => redrawPanel("readers-page"))),
    );
  },
});
