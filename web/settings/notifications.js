// Telling of messages while nobody looks at the page.

import { chat } from "../shell/session.js";
import { attempt, tell } from "../shell/dom.js";
import { conversationOf, isGroup, isSeen, lineOf, open, titleOf } from "../chat/conversations.js";
import { groupOf } from "../groups/groups.js";
import { meansMe } from "../chat/mentions.js";
import { quiet, tick } from "../shell/panel-widgets.js";
import { ownState } from "./own-presence.js";
import { addSettings } from "./settings.js";

/** What is older came while the page was not connected, and is shown as unread. */
const FRESH = 60_000;

const isOn = () => localStorage.notify === "on" && globalThis.Notification?.permission === "granted";

addSettings({
  text: "Notifications", test: "notifications", icon: "🔔",
  page: {
    title: "Notifications",
    test: "notifications-page",
    build(body) {
      if (!globalThis.Notification) return void body.append(quiet("This browser tells of nothing here: the page has to come over TLS."));
      const { box, node } = tick("Tell me of messages while I am elsewhere", "notify-here", isOn());
      box.addEventListener("change", async () => {
        const allowed = !box.checked || (await Notification.requestPermission()) === "granted";
        if (!allowed) tell("The browser does not allow it; its settings for this page can.");
        box.checked &&= allowed;
        localStorage.notify = box.checked ? "on" : "off";
      });
      body.append(node, quiet("Of a group you are told what you chose on its page. While you are busy, you are told of nothing."));
    },
  },
});

/** Whether somebody wants to be told of a message. */
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
  // Names are asked for with the event, and are there a moment later.
  setTimeout(() => show(conversation), 300);
});

function show(conversation) {
  const told = new Notification(titleOf(conversation), { body: lineOf(conversation), tag: conversation.id, icon: "logo.svg" });
  told.onclick = () => {
    focus();
    void attempt(() => open(conversation));
    told.close();
  };
}
