// The page with the readers of a message, and deleting messages of others.

import { chat } from "../shell/session.js";
import { isDirect, othersOf } from "./conversations.js";
import { furtherActs } from "./message-menu.js";
import { may } from "../groups/groups.js";
import { attempt } from "../shell/dom.js";
import { startPanel } from "../shell/panel.js";
import { heading, list } from "../shell/panel-widgets.js";
import { personRow } from "../people/person-row.js";
import { loadPeople, nameOf } from "../people/people.js";
import { readersOf } from "./message-list.js";

furtherActs.push(({ sender, seq }, { conversation }) => {
  if (isDirect(conversation) || sender !== chat.actor) return null;
  return { text: `Seen by ${readersOf(seq).length}`, test: "seen-by", run: () => startPanel(page(conversation, seq)) };
});

furtherActs.push(({ sender, seq }, { conversation }) => {
  if (isDirect(conversation) || sender === chat.actor || !may(conversation.id, "recall_others")) return null;
  return {
    text: "Delete message",
    test: "recall-other",
    question: "Delete this message for everyone?",
    run: () => attempt(() => chat.call("groups.recall", { group: conversation.id, seq })),
  };
});

const page = (conversation, seq) => ({
  title: "Seen by",
  test: "seen-page",
  async build(body) {
    const receipts = await chat.receipts(conversation.id);
    const others = othersOf(conversation);
    await loadPeople(others, 500);
    const seen = receipts.filter(({ read, actor }) => read >= seq && others.includes(actor)).map(({ actor }) => actor);
    const got = receipts.filter(({ read, delivered }) => read < seq && delivered >= seq).map(({ actor }) => actor);
    const known = new Set([...seen, ...got]);
    const rest = others.filter((actor) => !known.has(actor));
    const person = (actor) => personRow(actor, { line: "", dot: false, test: `read-${nameOf(actor)}` });
    const people = (actors, test, none) => list(actors.map(person), test, none);
    body.append(heading("Read"), people(seen, "seen-by-list", "Nobody yet."));
    if (got.length > 0) body.append(heading("Delivered"), people(got, "delivered-to-list"));
    if (rest.length > 0) body.append(heading("Not delivered yet"), people(rest, "not-yet-list"));
  },
});
