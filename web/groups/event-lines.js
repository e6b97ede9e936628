// Events of a group as lines between the messages.

import { chat } from "../shell/session.js";
import { eventLines, kinds } from "../chat/content.js";
import { nameList } from "../chat/conversations.js";
import { CLOSED_ACCOUNT, nameOf } from "../people/people.js";
import { titleOfRole } from "./groups.js";

const who = (actor) => (actor === chat.actor ? "You" : nameOf(actor));
const whom = (actor) => (actor === chat.actor ? "you" : nameOf(actor));

/** Returns the names of people, starting with "You". */
function all(actors) {
  const others = actors.filter((actor) => actor !== chat.actor);
  if (others.length === actors.length) return nameList(others, 5);
  return others.length === 0 ? "You" : `You, ${nameList(others, 5)}`;
}

eventLines.set("members", ({ sender, content: { joined, left } }) => {
  const said = [];
  const by = (actors) =>
    actors.length === 1 && actors[0] === sender ? "" : sender === chat.actor ? " by you" : ` by ${nameOf(sender)}`;
  const isPerson = sender === chat.actor || nameOf(sender) !== CLOSED_ACCOUNT;
  if (joined.length > 0) said.push(`${all(joined)} joined`);
  if (left.length > 0) {
    const alone = left.length === 1 && left[0] === sender;
    said.push(
      alone || !isPerson
        ? `${all(left)} left`
        : `${all(left)} ${left.length > 1 || left[0] === chat.actor ? "were" : "was"} removed${by(left)}`,
    );
  }
  return said.join("; ");
});

const until = (time) => new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const FOREVER = Number.MAX_SAFE_INTEGER;

const EVENTS = {
  profile: ({ sender, content }) => `${who(sender)} changed the group profile: “${content.name || "no name"}”`,
  owner: ({ content }) => `${who(content.actor)} ${content.actor === chat.actor ? "are" : "is"} the owner now`,
  role: ({ sender, content }, { conversation }) =>
    `${who(sender)} gave ${whom(content.actor)} the role ${titleOfRole(conversation.id, content.role)}`,
  roles: ({ sender }) => `${who(sender)} changed the roles`,
  muted: ({ sender, content: { actor, until_ms } }) =>
    until_ms === 0
      ? `${who(sender)} unmuted ${whom(actor)}`
      : `${who(sender)} muted ${whom(actor)}${until_ms < FOREVER ? ` until ${until(until_ms)}` : ""}`,
  all_muted: ({ sender, content }) => `${who(sender)} ${content.on ? "muted everybody" : "unmuted everybody"}`,
  slow_mode: ({ sender, content: { seconds } }) =>
    seconds > 0
      ? `${who(sender)} turned on slow mode: a message every ${seconds} seconds`
      : `${who(sender)} turned off slow mode`,
  dissolved: () => "The group was deleted",
};

const line = (message, place) => EVENTS[message.content.event]?.(message, place) ?? "The group was changed";

kinds.set("custom:group", {
  line,
  preview: (message) => line(message, { conversation: { id: message.conversation } }),
});
