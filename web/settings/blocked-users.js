// The page of blocked users.

import { action } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { redrawPanel } from "../shell/panel.js";
import { paged } from "../shell/panel-widgets.js";
import { personRow } from "../people/person-row.js";
import { nameOf, now, storePeople } from "../people/people.js";

export const blocklistPage = { title: "Blocked users", test: "blocklist-page", build };

async function build(body) {
  body.append(
    await paged(
      "blocked",
      async (after) => {
        const since = now();
        const { blocked, next } = await chat.call("users.blocked", after ? { after } : {});
        storePeople(
          blocked.map(({ person }) => person),
          since,
        );
        return { rows: blocked.map(row), next };
      },
      "No blocked users.",
    ),
  );
}

function row({ person: { actor }, since_ms }) {
  return personRow(actor, {
    line: `since ${new Date(since_ms).toLocaleDateString([], { dateStyle: "medium" })}`,
    dot: false,
    test: `blocked-${nameOf(actor)}`,
    actions: [
      action(
        "Unblock",
        `unblock-${nameOf(actor)}`,
        async () => {
          await chat.call("users.unblock", { actor });
          redrawPanel("blocklist-page");
        },
        { className: "small" },
      ),
    ],
  });
}
