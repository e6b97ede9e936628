// The user's own status, and the detection of inactivity.

import { Latest } from "../client/latest.js";
import { element } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { changed } from "../shell/bus.js";
import { choice, field, form, input } from "../shell/panel-widgets.js";

export const presencePage = { title: "Status", test: "own-presence-page", build };

const STATES = [
  ["online", "Online", "Shown as away while you are inactive."],
  ["busy", "Busy", "Do not disturb: no notifications."],
  ["invisible", "Invisible", "Everybody sees you as offline."],
];

const MINUTE = 60_000;
const ENDS = [
  ["", "Don't clear"],
  ["30", "30 minutes"],
  ["60", "1 hour"],
  ["240", "4 hours"],
  ["today", "Today"],
  ["week", "This week"],
];

let shown = "online";

/** Returns the chosen state: `online`, `busy` or `invisible`. */
export const ownState = () => shown;
export const noteOwnState = (state) => (shown = state);

/** Returns a status as text. */
export function stateWords({ state, text }) {
  const [, word] = STATES.find(([name]) => name === state) ?? ["", "Online"];
  return text ? `${word} · ${text}` : word;
}

function endOf(value) {
  if (value === "") return undefined;
  const end = new Date();
  if (value === "today") return end.setHours(23, 59, 59, 0);
  if (value === "week") {
    end.setDate(end.getDate() + ((7 - end.getDay()) % 7));
    return end.setHours(23, 59, 59, 0);
  }
  return Date.now() + Number(value) * MINUTE;
}

async function build(body) {
  const {
    people: [{ state, text, until_ms }],
  } = await chat.call("users.presence", { actors: [chat.actor] });
  const chosen = STATES.map(([value, word, meaning]) => {
    const radio = input({ type: "radio", name: "state", value, checked: value === state });
    radio.dataset.test = `state-${value}`;
    return element(
      "label",
      { className: "tick" },
      radio,
      element("span", { className: `dot ${value === "invisible" ? "offline" : value}` }),
      element("span", {}, word, element("small", { className: "quiet" }, meaning)),
    );
  });
  const words = input({ value: text ?? "", maxLength: 100, placeholder: "In a meeting, on holiday…" });
  const end = choice(ENDS, "");
  const now = until_ms
    ? `Now until ${new Date(until_ms).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}.`
    : undefined;
  body.append(
    form(
      "presence-form",
      "Save",
      [
        element("fieldset", {}, element("legend", { className: "unseen" }, "Status"), ...chosen),
        field("Status message", words, "status"),
        field("Clear after", end, "status-end", now),
      ],
      async (form) => {
        const until = endOf(end.value);
        await chat.call("users.set_presence", {
          state: form.elements.state.value,
          text: words.value,
          ...(until ? { until_ms: until } : {}),
        });
        isIdle = false;
        changed("self");
      },
      "Saved.",
    ),
  );
}

/* Inactivity */

const IDLE_AFTER = 5 * MINUTE;

let isIdle = false;
let last = Date.now();

async function become(idle) {
  if (chat.state !== "online" || idle === isIdle) return;
  isIdle = idle;
  // After a failure, the next change sends it again.
  await idleness.load("idle").catch(() => {});
}

/** Sends one state at a time, so that the last one wins. */
const idleness = Latest.each(
  () => chat.call("users.set_idle", { idle: isIdle }),
  () => {},
);

function touched() {
  last = Date.now();
  void become(false);
}

for (const type of ["pointerdown", "keydown", "focus"])
  addEventListener(type, touched, { capture: true, passive: true });
setInterval(() => Date.now() - last > IDLE_AFTER && void become(true), 10_000);
chat.addEventListener("state", ({ detail: { state } }) => {
  if (state !== "online") isIdle = false;
});
