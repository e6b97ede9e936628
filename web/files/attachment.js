// What is known of a file, and how it is shown as a card.

import { busy, button, element, tell } from "../shell/dom.js";
import { urlOf } from "../shell/blob-urls.js";

export const ICONS = { image: "🖼️", video: "🎬", voice: "🎵", file: "📄" };

const UNITS = ["B", "KB", "MB", "GB"];

/** Returns a size for people, such as `3.4 MB`. */
export function sizeText(bytes) {
  let unit = 0;
  for (; bytes >= 1000 && unit < UNITS.length - 1; unit++) bytes /= 1000;
  return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${UNITS[unit]}`;
}

/** Returns what is known of the file of a message: its content, and what was found out later. */
export function fileOf({ content, annotations = [] }) {
  const later = annotations.find(({ plugin, name }) => plugin === "files" && name === "preview");
  return { ...content, ...later?.value };
}

/** Saves a file where the browser saves files. */
export async function save(file, onprogress) {
  const link = element("a", { download: file.name || "file" });
  try {
    link.href = await urlOf("files", file.blob, link, onprogress);
    link.click();
  } catch (error) {
    tell(goneText(error));
  }
}

export const goneText = (error) => (error.code === "unknown_blob" ? "This file was removed." : error.message);

/** A ring that fills; `set(share)` moves it, without a share it turns. */
export function ring() {
  const node = element("span", { className: "ring" });
  node.set = (share) => {
    node.classList.toggle("turns", share === undefined || Number.isNaN(share));
    node.style.setProperty("--share", String(share ?? 0.25));
  };
  node.set(undefined);
  return node;
}

/** A file as a card: what it is called, how large it is, and a button that saves it. */
export function cardOf(file, kind, more = []) {
  const ending = /\.([^.]{1,8})$/.exec(file.name ?? "")?.[1]?.toUpperCase();
  const turning = ring();
  const get = button("⬇", "download", () => busy(get, async () => {
    get.replaceChildren(turning);
    await save(file, (received, size) => turning.set(received / size));
    get.replaceChildren("⬇");
  }), { className: "get", title: "Save" });
  get.setAttribute("aria-label", `Save ${file.name || "the file"}`);
  const node = element("div", { className: "file-card" }, element("span", { className: "icon" }, ICONS[kind] ?? ICONS.file),
    element("div", {}, element("span", { className: "name", title: file.name }, file.name || "File"),
      element("span", { className: "quiet" }, [file.size === undefined ? null : sizeText(file.size), ending].filter(Boolean).join(" · "))),
    ...(file.blob ? [get] : []), ...more);
  node.dataset.test = "file";
  return node;
}
