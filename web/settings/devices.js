// The sessions of the user.

import { action, element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { redrawPanel } from "../shell/panel.js";
import { buttons, list, dangerButton } from "../shell/panel-widgets.js";
import { ago } from "../people/people.js";

export const devicesPage = { title: "Devices", test: "devices-page", build };

async function build(body) {
  const { sessions } = await chat.call("users.sessions");
  const others = sessions.filter(({ current }) => !current);
  const own = sessions.filter(({ current }) => current);
  body.append(list([...own, ...others].map(row), "sessions"));
  if (others.length > 0) {
    body.append(
      buttons(
        dangerButton("Log out other devices", "Log out of all your other devices?", "end-others", async () => {
          await chat.call("users.end_other_sessions");
          redrawPanel("devices-page");
        }),
      ),
    );
  }
}

function row({ id, device, created_ms, last_seen_ms, current }) {
  const since = new Date(created_ms).toLocaleDateString([], { dateStyle: "medium" });
  const seen = current ? "this device" : `last active ${ago(last_seen_ms ?? created_ms)}`;
  const node = element(
    "div",
    { className: "row" },
    element(
      "span",
      { className: "who" },
      device || "Unknown device",
      element("small", { className: "quiet" }, `${seen} · since ${since}`),
    ),
    current
      ? null
      : action(
          "Log out",
          `end-${device}`,
          async () => {
            await chat.call("users.end_session", { id });
            redrawPanel("devices-page");
          },
          { className: "small" },
        ),
  );
  node.dataset.test = current ? "this-session" : "other-session";
  return node;
}
