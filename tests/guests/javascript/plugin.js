// The watcher of tests/guests/watcher, in JavaScript: it does the same, and does the same wrong.

import kv from "courtyard:plugin/kv@1.0.0";

const text = (bytes) => decodeURIComponent(Array.from(bytes, (byte) => "%" + byte.toString(16).padStart(2, "0")).join(""));
const bytes = (text) => {
  const encoded = encodeURIComponent(text);
  const found = encoded.match(/%..|[^%]/g) ?? [];
  return Uint8Array.from(found, (part) => (part.length > 1 ? parseInt(part.slice(1), 16) : part.charCodeAt(0)));
};

/** Takes the texts of a message apart that this plugin needs. */
const read = (message) => ({
  sender: text(message.bytes.slice(message.conversationKindEnd, message.senderEnd)),
  content: JSON.parse(text(message.bytes.slice(message.clientIdEnd, message.contentEnd))),
  seq: message.seq,
});

const get = (key) => {
  const value = kv.get(bytes(key));
  return value === null || value === undefined ? null : JSON.parse(text(value));
};
const set = (key, value) => kv.set(bytes(key), bytes(JSON.stringify(value)));

const refuse = (code, message) => {
  throw { code, message, retry: false };
};

export const lifecycle = {
  start(_configuration) {},
};

export const message = {
  beforeSend(message) {
    const said = read(message).content.text;
    if (said === "trap") {
      // What was written before the trap must not be kept.
      set("trapped", "yes");
      throw new Error("as told");
    }
    if (said.includes("teh")) {
      return { tag: "replace", val: bytes(JSON.stringify({ text: said.replaceAll("teh", "the") })) };
    }
    return { tag: "accept" };
  },

  afterSend(message) {
    const { content, seq } = read(message);
    if (content.text === "unbearable") refuse("unbearable", "I can't look at this.");
    set("seen", [...(get("seen") ?? []), Number(seq)]);
  },

  render(viewer, messages) {
    return messages.map((message) => {
      const { sender, content } = read(message);
      if (content.text === "trap render") throw new Error("as told");
      return viewer === sender ? null : bytes(JSON.stringify({ text: `${content.text}, ${viewer}` }));
    });
  },

  beforeAct(_act) {},
  afterAct(_act) {},
};

export const method = {
  call(_caller, name, params) {
    const asked = JSON.parse(text(params));
    if (typeof asked !== "object" || asked === null) refuse("invalid_params", "The parameters are no object.");
    switch (name) {
      case "seen":
        return bytes(JSON.stringify({ seqs: get("seen") ?? [] }));
      case "trapped":
        return bytes(JSON.stringify({ seqs: get("trapped") === null ? [] : [1] }));
      default:
        return refuse("unknown_method", `There is no method ${name}.`);
    }
  },
};
