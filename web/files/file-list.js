// Pages of the panel with files: those of a conversation, and the user's own with their total size.

import { element, showNotice } from "../shell/dom.js";
import { chat } from "../shell/session.js";
import { redrawPanel } from "../shell/panel.js";
import { paged, quiet, dangerButton } from "../shell/panel-widgets.js";
import { addSettings } from "../settings/settings.js";
import { cardOf, sizeText } from "./attachment.js";
import { dropBlob, urlOf } from "../shell/blob-urls.js";
import { kindOf } from "./uploading.js";

const cardKind = ({ media_type: type, state }) => (state === "unreadable" ? "file" : kindOf({ type: type ?? "" }));

function row(file, more = []) {
  const node = cardOf(file, cardKind(file), more);
  if (file.thumbnail) {
    const picture = element("img", { alt: "", className: "cover" });
    void urlOf("files", file.thumbnail, picture).then(
      (url) => {
        picture.src = url;
        node.querySelector(".icon").replaceWith(picture);
      },
      () => {},
    );
  }
  return node;
}

const day = (time) => new Date(time).toLocaleDateString([], { dateStyle: "medium" });

/** Returns the page with the files of a conversation. */
export const sharedPage = (conversation) => ({
  title: "Shared files",
  test: "shared-page",
  async build(body) {
    const node = await paged(
      "shared-files",
      async (after) => {
        const { files, next } = await chat.call("files.shared", {
          conversation,
          ...(after ? { after } : {}),
          limit: 50,
        });
        return { rows: files.map((file) => row(file)), next };
      },
      "No files in this conversation.",
    );
    node.classList.add("files-list");
    body.append(node);
  },
});

const ownPage = {
  title: "My files",
  test: "own-files-page",
  async build(body) {
    const { bytes, bytes_limit: limit, files } = await chat.call("files.usage");
    const bar = element("div", { className: "meter" }, element("span"));
    bar.firstChild.style.width = `${Math.min(100, (100 * bytes) / limit)}%`;
    const usage = quiet(
      `${files} ${files === 1 ? "file takes" : "files take"} up ${sizeText(bytes)} of ${sizeText(limit)}.`,
      "usage",
    );
    const node = await paged(
      "own-files",
      async (after) => {
        const page = await chat.call("files.own", { ...(after ? { after } : {}), limit: 50 });
        return { rows: page.files.map((file) => row(file, [remove(file)])), next: page.next };
      },
      "No files.",
    );
    node.classList.add("files-list");
    body.append(usage, bar, node);
  },
};

function remove({ blob, name, created_ms: time }) {
  const node = dangerButton("Delete", `Delete ${name || "this file"} for everyone?`, "delete-file", async () => {
    await chat.call("files.delete", { blob });
    dropBlob("files", blob);
    showNotice("File deleted. The messages with it stay.");
    redrawPanel("own-files-page");
  });
  node.title = `Sent ${day(time)}`;
  node.setAttribute("aria-label", `Delete ${name}`);
  return node;
}

addSettings({ text: "My files", test: "own-files", icon: "📁", page: ownPage });
