// A cache of blobs as object URLs. Blobs are fetched with the token.

import { blobs } from "./pictures.js";

/** Bytes of the cache. Above it, blobs that no node shows are dropped, the least recently used first. */
const ROOM = 96 << 20;

const kept = new Map();

/**
 * Returns the object URL of a blob for a node, valid while the node is in the document. Rejects with a `CourtyardError`.
 * `onprogress` is called with (received, size).
 */
export function urlOf(plugin, id, node, onprogress) {
  const key = `${plugin}/${id}`;
  const entry = kept.get(key) ?? { size: 0, nodes: [], url: undefined };
  kept.delete(key);
  kept.set(key, entry);
  entry.nodes.push(new WeakRef(node));
  entry.url ??= blobs.download(plugin, id, { onprogress }).then(
    (blob) => objectUrl(entry, blob),
    (error) => {
      kept.delete(key);
      throw error;
    },
  );
  return entry.url;
}

/** Returns true if a blob is in the cache or being fetched. */
export const isKept = (plugin, id) => kept.has(`${plugin}/${id}`);

/** Adds a blob that this page uploaded. */
export function addBlob(plugin, id, blob) {
  const entry = { size: 0, nodes: [], url: undefined };
  kept.set(`${plugin}/${id}`, entry);
  entry.url = Promise.resolve(objectUrl(entry, blob));
}

/** Drops a blob that was deleted. */
export function dropBlob(plugin, id) {
  kept.delete(`${plugin}/${id}`);
}

function objectUrl(entry, blob) {
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
