// Pictures of people and groups, fetched with the token because plugins serve them to signed-in users only.

import { Blobs } from "../client/uploads.js";
import { token } from "./session.js";

/** Pictures in the cache, at most. */
const KEPT = 300;

export const blobs = new Blobs({ url: location.origin, token });

const kept = new Map();

/** Resolves with the object URL of a picture, or with null if the download failed. */
export function pictureOf(plugin, id) {
  const key = `${plugin}/${id}`;
  const known = kept.get(key);
  if (known) return known;
  const url = blobs.download(plugin, id).then(
    (blob) => URL.createObjectURL(blob),
    () => {
      kept.delete(key);
      return null;
    },
  );
  kept.set(key, url);
  if (kept.size > KEPT) {
    const [oldest, old] = kept.entries().next().value;
    kept.delete(oldest);
    void old.then((url) => url && URL.revokeObjectURL(url));
  }
  return url;
}

const SIDE = 512;

/** Crops a picture to a square of at most 512 pixels and resolves with it as a JPEG file. */
export async function squared(file) {
  const image = await createImageBitmap(file);
  const side = Math.min(image.width, image.height);
  const size = Math.min(side, SIDE);
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  canvas
    .getContext("2d")
    .drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, size, size);
  image.close();
  const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", 0.88));
  return new File([blob], "picture.jpg", { type: "image/jpeg" });
}
