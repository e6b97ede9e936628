// The settings, and the user's name and status above the list. Other modules add their pages.

import { Latest } from "../client/latest.js";
import { $ } from "../shell/dom.js";
import { chat, endSession } from "../shell/session.js";
import { changed, on } from "../shell/bus.js";
import { face, nameOf, now, storePeople } from "../people/people.js";
import { openPanel, redrawPanel, startPanel } from "../shell/panel.js";
import { action, buttons, entry } from "../shell/panel-widgets.js";
import { accountPage } from "./account.js";
import { blocklistPage } from "./blocked-users.js";
import { devicesPage } from "./devices.js";
import { ownProfilePage } from "./own-profile.js";
import { noteOwnState, presencePage, stateWords } from "./own-presence.js";

const entries = [];

/** Adds an entry to the settings: {text, test, icon, page} with a page of the panel, or {…, open} with a function. */
export const addSettings = (entry) => entries.push(entry);

addSettings({ text: "Profile", test: "own-profile", icon: "👤", page: ownProfilePage });
addSettings({ text: "Status", test: "own-presence", icon: "●", page: presencePage });
addSettings({ text: "Account", test: "account", icon: "🔑", page: accountPage });
addSettings({ text: "Devices", test: "devices", icon: "💻", page: devicesPage });
addSettings({ text: "Blocked users", test: "blocklist", icon: "🚫", page: blocklistPage });

const settingsPage = {
  title: "Settings",
  test: "settings-page",
  build(body) {
    body.append(
      ...entries.map(({ text, test, icon, page, open }) =>
        entry(text, test, () => (open ? open() : openPanel(page)), { icon }),
      ),
    );
    body.append(buttons(action("Log out", "leave", logOut, { className: "danger" })));
  },
};

async function logOut() {
  try {
    await chat.call("users.logout");
  } catch {
    // The token is deleted here in any case.
  }
  endSession();
}

$("self").addEventListener("click", () => startPanel(settingsPage));

const self = Latest.each(
  async () => {
    const since = now();
    const [
      me,
      {
        people: [presence],
      },
    ] = await Promise.all([chat.call("users.whoami"), chat.call("users.presence", { actors: [chat.actor] })]);
    return { me, presence, since };
  },
  ({ me, presence, since }) => {
    storePeople([me], since);
    $("me").textContent = nameOf(chat.actor);
    $("my-face").replaceChildren(...face(chat.actor).childNodes);
    $("my-state").textContent = stateWords(presence);
    $("my-face").dataset.state = presence.state;
    noteOwnState(presence.state);
    redrawPanel("own-presence-page");
  },
);
const loadSelf = () => self.load("self");

chat.addEventListener("state", ({ detail: { state } }) => {
  if (state === "online") void loadSelf();
});
chat.addEventListener("signal", ({ detail: { plugin, name } }) => {
  if (plugin === "users" && name === "profile") void loadSelf();
  if (plugin === "users" && name === "block") changed("contacts");
});
on("self", () => void loadSelf());
