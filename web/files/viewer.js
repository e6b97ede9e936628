// The viewer for images in full size.

import { button, element } from "../shell/dom.js";
import { current } from "../chat/conversations.js";
import { nameOf } from "../people/people.js";
import { urlOf } from "../shell/blob-urls.js";
import { fileOf, save } from "./attachment.js";

const picture = element("img", { alt: "" });
const title = element("span");
const words = element("p");
const back = button("‹", "image-before", () => step(-1), { title: "Previous" });
const on = button("›", "image-after", () => step(1), { title: "Next" });
const dialog = element(
  "dialog",
  { className: "viewer" },
  element(
    "header",
    {},
    title,
    button("⬇", "image-save", () => save(fileOf(shown)), { title: "Save" }),
    button("✕", "image-close", () => dialog.close(), { title: "Close (Esc)" }),
  ),
  element("div", { className: "stage" }, back, picture, on),
  words,
);
dialog.dataset.test = "viewer";
for (const [node, label] of [
  [back, "Previous image"],
  [on, "Next image"],
])
  node.setAttribute("aria-label", label);
dialog.setAttribute("aria-label", "Image");
document.body.append(dialog);

let shown = null;

const images = () => current?.list.messages.filter(({ kind, recalled }) => kind === "image" && !recalled) ?? [];
const placeOf = (message) => images().findIndex(({ seq }) => seq === message.seq);

/** Opens the viewer with the image of a message. */
export function openViewer(message) {
  if (message.seq === undefined) return;
  show(message);
  if (!dialog.open) dialog.showModal();
}

async function show(message) {
  shown = message;
  const file = fileOf(message);
  const place = placeOf(message);
  // Not disabled: a disabled button loses the focus, and the arrow keys with it.
  back.ariaDisabled = String(place <= 0);
  on.ariaDisabled = String(place === images().length - 1);
  title.textContent = `${nameOf(message.sender)} · ${new Date(message.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
  words.textContent = message.content.caption ?? "";
  picture.alt = file.name ?? "Image";
  picture.removeAttribute("src");
  dialog.dataset.state = "loading";
  try {
    // The thumbnail until the image is loaded.
    const small = file.thumbnail && (await urlOf("files", file.thumbnail, picture));
    if (shown !== message) return;
    if (small) picture.src = small;
    const url = await urlOf("files", file.blob, picture);
    if (shown !== message) return;
    picture.src = url;
    dialog.dataset.state = "shown";
  } catch (error) {
    if (shown !== message) return;
    words.textContent = error.code === "unknown_blob" ? "This image was deleted." : error.message;
    dialog.dataset.state = "gone";
  }
}

function step(by) {
  const next = images()[placeOf(shown) + by];
  if (next) void show(next);
}

dialog.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") step(-1);
  if (key === "ArrowRight") step(1);
});
dialog.addEventListener("click", ({ target }) => {
  if (target === dialog || target.classList.contains("stage")) dialog.close();
});
let touched = null;
dialog.addEventListener("touchstart", ({ touches }) => (touched = touches.length === 1 ? touches[0].clientX : null));
dialog.addEventListener("touchend", ({ changedTouches }) => {
  const moved = touched === null ? 0 : changedTouches[0].clientX - touched;
  if (Math.abs(moved) > 60) step(moved < 0 ? 1 : -1);
});
