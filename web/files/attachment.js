// Data of a file, and its card.

import { busy, button, element, showNotice } from "../shell/dom.js";
import { urlOf } from "../shell/blob-urls.js";

export const ICONS = { image: "🖼️", video: "🎬", voice: "🎵", file: "📄" };

const UNITS = ["B", "KB", "MB", "GB"];

/** Formats a size in bytes, such as `3.4 MB`. */
export function sizeText(bytes) {
  let unit = 0;
  for (; bytes >= 1000 && unit < UNITS.length - 1; unit++) bytes /= 1000;
  return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${UNITS[unit]}`;
}

/** Returns the file of a message: its content, merged with the annotation `preview` of the files plugin. */
export function fileOf({ content, annotations = [] }) {
  const later = annotations.find(({ plugin, name }) => plugin === "files" && name === "preview");
  return { ...content, ...later?.value };
}

/** Downloads a file and lets the browser save it. */
export async function save(file, onprogress) {
  const link = element("a", { download: file.name || "file" });
  try {
    link.href = await urlOf("files", file.blob, link, onprogress);
    link.click();
  } catch (error) {
    showNotice(goneText(error));
  }
}

export const goneText = (error) => (error.code === "unknown_blob" ? "This file was deleted." : error.message);

/** Returns a progress ring: `set(share)` fills it, `set()` makes it turn. */
export function ring() {
  const node = element("span", { className: "ring" });
  node.set = (share) => {
    node.classList.toggle("turns", share === undefined || Number.isNaN(share));
    node.style.setProperty("--share", String(share ?? 0.25));
  };
  node.set(undefined);
  return node;
}

/** Returns the card of a file: name, size, and a button that saves it. */
export function cardOf(file, kind, more = []) {
  const ending = /\.([^.]{1,8})$/.exec(file.name ?? "")?.[1]?.toUpperCase();
  const turning = ring();
  const get = button(
    "⬇",
    "download",
    () =>
      busy(get, async () => {
        get.replaceChildren(turning);
        await save(file, (received, size) => turning.set(received / size));
        get.replaceChildren("⬇");
      }),
    { className: "get", title: "Save" },
  );
  get.setAttribute("aria-label", `Save ${file.name || "the file"}`);
  const node = element(
    "div",
    { className: "file-card" },
    element("span", { className: "icon" }, ICONS[kind] ?? ICONS.file),
    element(
      "div",
      {},
      element("span", { className: "name", title: file.name }, file.name || "File"),
      element(
        "span",
        { className: "quiet" },
        [file.size === undefined ? null : sizeText(file.size), ending].filter(Boolean).join(" · "),
      ),
    ),
    ...(file.blob ? [get] : []),
    ...more,
  );
  node.dataset.test = "file";
  return node;
}
