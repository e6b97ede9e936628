// What the page keeps of the bytes of messages: fetched with the token, given out as URLs that are good in this page.

import { blobs } from "./pictures.js";

/** Bytes after which those that nothing shows any more are let go, the ones that were used longest ago first. */
const ROOM = 96 << 20;

const kept = new Map();

/**
 * Returns a URL of a blob for a node; it is good for as long as the node is in the page. Rejects with a `CourtyardError`.
 * `onprogress` gets (received, size).
 */
export function urlOf(plugin, id, node, onprogress) {
  const key = `${plugin}/${id}`;
  const entry = kept.get(key) ?? { size: 0, nodes: [], url: undefined };
  kept.delete(key);
  kept.set(key, entry);
  entry.nodes.push(new WeakRef(node));
  entry.url ??= blobs.download(plugin, id, { onprogress }).then((blob) => given(entry, blob), (error) => {
    kept.delete(key);
    throw error;
  });
  return entry.url;
}

/** Whether a blob needs not be fetched any more. */
export const isKept = (plugin, id) => kept.has(`${plugin}/${id}`);

/** Keeps a blob that came from here. */
export function keep(plugin, id, blob) {
  const entry = { size: 0, nodes: [], url: undefined };
  kept.set(`${plugin}/${id}`, entry);
  entry.url = Promise.resolve(given(entry, blob));
}

/** Forgets a blob that was removed. */
export function forget(plugin, id) {
  kept.delete(`${plugin}/${id}`);
}

function given(entry, blob) {
  entry.size = blob.size;
  let total = 0;
  for (const { size } of kept.values()) total += size;
  for (const [key, other] of kept) {
    if (total <= ROOM) break;
    other.nodes = other.nodes.filter((node) => node.deref()?.isConnected);
    if (other === entry || other.nodes.length > 0 || other.size === 0) continue;
    kept.delete(key);
    total -= other.size;
    void other.url.then((url) => URL.revokeObjectURL(url));
  }
  return URL.createObjectURL(blob);
}
