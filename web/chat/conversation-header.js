// The header of a conversation: title, presence, who is typing, and the reason if the user can't write.

import { $ } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { on, batched } from "../shell/bus.js";
import { current, faceOf, isDirect, isGroup, open, partnerOf, titleOf } from "./conversations.js";
import { groupOf, may } from "../groups/groups.js";
import { presenceOf, presenceText } from "../people/people.js";
import { typingText } from "./conversation-list.js";
import { closePanel, startPanel } from "../shell/panel.js";
import { personPage } from "../people/profile.js";
import { groupPage } from "../groups/group-page.js";

on("open people groups list writing", batched(draw));

function draw() {
  if (!current) return;
  $("title").textContent = titleOf(current);
  $("avatar").replaceChildren(...faceOf(current).childNodes);
  const isWriting = current.writing.size > 0;
  $("writing").textContent = isWriting
    ? isDirect(current)
      ? `${titleOf(current)} is typing…`
      : typingText(current)
    : "";
  $("subtitle").textContent = isWriting ? "" : subtitle();
  const reason = silence();
  $("write-disabled").textContent = reason ?? "";
  $("write-disabled").hidden = reason === undefined;
  $("composer").hidden = reason !== undefined;
}

function subtitle() {
  const partner = partnerOf(current);
  if (partner) return presenceText(presenceOf(partner));
  const { members } = current;
  return members.length > 0 ? `${members.length} ${members.length === 1 ? "member" : "members"}` : "";
}

/** Returns the reason why the user can't write in a group, or undefined. */
function silence() {
  const { membership, info } = groupOf(current.id) ?? {};
  if (!membership || isDirect(current)) return undefined;
  if (membership.muted_until_ms > Date.now()) {
    const until = new Date(membership.muted_until_ms);
    return membership.muted_until_ms < Number.MAX_SAFE_INTEGER
      ? `You are muted until ${until.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}.`
      : "You are muted.";
  }
  if (info.all_muted && !may(current.id, "bypass_mute")) return "Everybody is muted in this group.";
  return may(current.id, "send") ? undefined : "You can't send messages in this group.";
}

// A mute expires without an event.
setInterval(() => current && !isDirect(current) && draw(), 5_000);

$("about").addEventListener("click", () => {
  if (!current) return;
  if (isGroup(current)) startPanel(groupPage(current.id));
  else if (isDirect(current)) startPanel(personPage(partnerOf(current)));
});

/* The browser's Back does the same as ‹. */

on("open", () => {
  if (current && !history.state?.talking) history.pushState({ talking: true }, "");
});
addEventListener("popstate", () => {
  if (!$("panel").hidden && matchMedia("(max-width: 60rem)").matches) {
    closePanel();
    if (current) history.pushState({ talking: true }, "");
  } else if (current) void open(null);
});
$("back").addEventListener("click", () => {
  if (history.state?.talking) history.back();
  else void open(null);
});

chat.addEventListener("left", closePanelOf);
function closePanelOf({ detail: { conversation } }) {
  if ($("panel").dataset.of === conversation) closePanel();
}
