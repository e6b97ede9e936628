// Notifications of messages while the page is not visible.

import { chat } from "../shell/session.js";
import { attempt, showNotice } from "../shell/dom.js";
import { conversationOf, isGroup, isSeen, lineOf, open, titleOf } from "../chat/conversations.js";
import { groupOf } from "../groups/groups.js";
import { meansMe } from "../chat/mentions.js";
import { quiet, checkbox } from "../shell/panel-widgets.js";
import { ownState } from "./own-presence.js";
import { addSettings } from "./settings.js";

/** Milliseconds. Older messages arrived while offline; they count as unread without a notification. */
const FRESH = 60_000;

const isOn = () => localStorage.notify === "on" && globalThis.Notification?.permission === "granted";

addSettings({
  text: "Notifications",
  test: "notifications",
  icon: "🔔",
  page: {
    title: "Notifications",
    test: "notifications-page",
    build(body) {
      if (!globalThis.Notification)
        return void body.append(quiet("This browser shows no notifications here: they need HTTPS."));
      const { box, node } = checkbox("Notify me of new messages", "notify-here", isOn());
      box.addEventListener("change", async () => {
        const allowed = !box.checked || (await Notification.requestPermission()) === "granted";
        if (!allowed) showNotice("The browser blocks notifications. Allow them in its settings for this site.");
        box.checked &&= allowed;
        localStorage.notify = box.checked ? "on" : "off";
      });
      body.append(node, quiet("Each group has a setting of its own. While you are busy, there are no notifications."));
    },
  },
});

/** Returns true if the settings allow a notification of a message. */
function isWanted(conversation, content) {
  if (ownState() === "busy") return false;
  if (!isGroup(conversation)) return true;
  const rule = groupOf(conversation.id)?.notify ?? "all";
  return rule === "all" || (rule === "mentions" && meansMe(content));
}

chat.addEventListener("event", ({ detail: event }) => {
  const conversation = conversationOf(event.conversation);
  if (event.type !== "message" || event.sender === chat.actor || Date.now() - event.time > FRESH) return;
  if (!isOn() || isSeen(conversation) || !isWanted(conversation, event.content)) return;
  // The event also triggers the request for names.
  setTimeout(() => show(conversation), 300);
});

function show(conversation) {
  const notification = new Notification(titleOf(conversation), {
    body: lineOf(conversation),
    tag: conversation.id,
    icon: "logo.svg",
  });
  notification.onclick = () => {
    focus();
    void attempt(() => open(conversation));
    notification.close();
  };
}
