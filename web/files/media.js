// Images, videos, sound and other files in messages.

import { busy, button, element, showNotice } from "../shell/dom.js";
import { kinds, linked } from "../chat/content.js";
import { sendingOf } from "./uploading.js";
import { isKept, urlOf } from "../shell/blob-urls.js";
import { ICONS, cardOf, fileOf, goneText, ring, sizeText } from "./attachment.js";
import { openViewer } from "./viewer.js";

/** Bytes up to which an image without a thumbnail is loaded without a tap. */
const UNASKED = 4 << 20;
const LONGEST_SIDE = 320;

const WAITING = { queued: "Waiting…", waiting: "Waiting for the connection…", paused: "Paused" };

/** Returns the progress bar of an upload, with a button that cancels it. */
function progress(sending) {
  const bar = element("progress", { max: Math.max(1, sending.file.size) });
  const words = element("span", { className: "quiet" });
  words.dataset.test = "progress";
  const stop = button("✕", "cancel-upload", () => sending.cancel(), { title: "Cancel" });
  stop.setAttribute("aria-label", `Cancel sending ${sending.file.name}`);
  const node = element("div", { className: "progress" }, element("div", {}, words, bar), stop);
  const update = () => {
    bar.value = sending.sent;
    const moving = `${sizeText(sending.sent)} of ${sizeText(sending.file.size)}`;
    words.textContent = WAITING[sending.state] ?? moving;
    node.dataset.state = sending.state;
  };
  sending.addEventListener("change", update);
  update();
  return node;
}

/** Returns the size in which a picture is shown. */
function fitted({ width, height }) {
  if (!width || !height) return { width: 240, height: 180 };
  const scale = Math.min(1, LONGEST_SIDE / width, LONGEST_SIDE / height);
  return { width: Math.max(90, Math.round(width * scale)), height: Math.max(60, Math.round(height * scale)) };
}

function frame(file) {
  const { width, height } = fitted(file);
  const node = element("div", { className: "frame" });
  node.style.width = `${width}px`;
  node.style.aspectRatio = `${width} / ${height}`;
  return node;
}

function image(message) {
  const file = fileOf(message);
  const sending = sendingOf(message.id);
  if (file.state === "unreadable") return card(message, "file");
  const picture = element("img", { alt: file.name ?? "Image", decoding: "async", draggable: false });
  picture.dataset.test = "image";
  const open = button("", "open-image", () => openViewer(message), { className: "zoom" });
  open.setAttribute("aria-label", `Show ${file.name ?? "the image"} large`);
  const box = frame(file);
  box.append(picture, open);
  // Without a size from the server, the loaded picture sets it.
  picture.addEventListener("load", () => {
    box.classList.add("loaded");
    if (file.width) return;
    const { width, height } = fitted({ width: picture.naturalWidth, height: picture.naturalHeight });
    Object.assign(box.style, { width: `${width}px`, aspectRatio: `${width} / ${height}` });
  });
  if (sending) {
    picture.src = sending.url;
    return [box, progress(sending)];
  }
  const unseen = !file.thumbnail && (file.size ?? 0) > UNASKED && !isKept("files", file.blob);
  if (unseen) box.append(element("span", { className: "hint" }, `Tap to load · ${sizeText(file.size)}`));
  else void load(picture, isKept("files", file.blob) ? file.blob : (file.thumbnail ?? file.blob), box);
  return [box];
}

async function load(node, blob, box, onprogress) {
  try {
    node.src = await urlOf("files", blob, node, onprogress);
    return true;
  } catch (error) {
    box.classList.add("gone");
    box.append(element("span", { className: "hint" }, goneText(error)));
    return false;
  }
}

function video(message) {
  const file = fileOf(message);
  const sending = sendingOf(message.id);
  const box = frame(file.width ? file : { width: 320, height: 180 });
  box.classList.add("video");
  const hint = element(
    "span",
    { className: "hint" },
    [file.name, file.size ? sizeText(file.size) : null].filter(Boolean).join(" · "),
  );
  const turning = ring();
  const play = button(
    "▶",
    "play-video",
    () =>
      busy(play, async () => {
        play.replaceChildren(turning);
        const player = element("video", { controls: true, playsInline: true, autoplay: true });
        const loaded = await load(player, file.blob, box, (received, size) => turning.set(received / size));
        if (loaded) box.replaceChildren(player);
        else play.remove();
      }),
    { className: "play" },
  );
  play.setAttribute("aria-label", `Play ${file.name ?? "the video"}`);
  box.append(hint);
  if (sending) return [box, progress(sending)];
  box.append(play);
  return [box];
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function voice(message) {
  const file = fileOf(message);
  const sending = sendingOf(message.id);
  if (sending) return [...card(message, "voice").slice(0, 1), progress(sending)];
  const sound = element("audio", { preload: "metadata" });
  const line = element("input", { type: "range", min: 0, max: 1000, value: 0, ariaLabel: "Position" });
  const time = element(
    "span",
    { className: "quiet" },
    file.duration_ms ? minutes(file.duration_ms / 1000) : sizeText(file.size ?? 0),
  );
  const box = element("div", { className: "voice" });
  const play = button(
    "▶",
    "play-voice",
    async () => {
      if (!sound.src && !(await load(sound, file.blob, box))) return play.remove();
      if (sound.paused) void sound.play().catch(() => showNotice("This browser can't play this sound."));
      else sound.pause();
    },
    { className: "play" },
  );
  play.setAttribute("aria-label", `Play ${file.name ?? "the sound"}`);
  sound.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== sound) other.pause();
    for (const other of document.querySelectorAll("video")) other.pause();
    play.textContent = "❚❚";
  });
  sound.addEventListener("pause", () => (play.textContent = "▶"));
  sound.addEventListener("timeupdate", () => {
    if (Number.isFinite(sound.duration)) line.value = String(Math.round((1000 * sound.currentTime) / sound.duration));
    time.textContent = minutes(sound.currentTime);
  });
  line.addEventListener("input", () => {
    if (Number.isFinite(sound.duration)) sound.currentTime = (sound.duration * Number(line.value)) / 1000;
  });
  box.append(
    play,
    element("div", {}, element("span", { className: "name" }, file.name || "Voice message"), line),
    time,
    sound,
  );
  return [box];
}

function card(message, kind = "file") {
  const sending = sendingOf(message.id);
  return [cardOf(fileOf(message), kind), ...(sending ? [progress(sending)] : [])];
}

const WORDS = { image: "Photo", video: "Video", voice: "Voice message", file: "File" };

function attachment(kind, show) {
  kinds.set(kind, {
    show: (message) => {
      const { caption } = message.content;
      return element(
        "div",
        { className: "attachment" },
        ...show(message),
        typeof caption === "string" && caption !== ""
          ? element("span", { className: "words caption" }, ...linked(caption))
          : null,
      );
    },
    preview: ({ content }) => {
      const words = kind === "file" ? content.name || WORDS.file : WORDS[kind];
      return `${ICONS[kind]} ${content.caption || words}`;
    },
  });
}

attachment("image", image);
attachment("video", video);
attachment("voice", voice);
attachment("file", (message) => card(message, "file"));
