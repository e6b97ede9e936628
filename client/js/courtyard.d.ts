export type State = "offline" | "connecting" | "anonymous" | "online" | "ended";

/** What all events of a log have. */
interface Entry {
  id: string;
  conversation: string;
  seq: number;
  sender: string;
  receiver?: string;
  client_id: string;
  time: number;
}

/** The content of a message, as its kind demands. */
export type Content = Record<string, unknown>;

/** Who reacted with an emoji, in the order in which they did. */
export interface Reaction {
  emoji: string;
  actors: string[];
}

/** What a plugin says about a message. */
export interface Annotation {
  plugin: string;
  name: string;
  value: unknown;
}

/** A message. Live ones are as they were sent; those of history and of a `MessageList` have what became of them. */
export interface Message extends Entry {
  type: "message";
  kind: string;
  /** The current one; empty when the message was recalled. */
  content: Content;
  /** When it was edited last, in milliseconds since 1970. */
  edited?: number;
  recalled?: boolean;
  reactions?: Reaction[];
  annotations?: Annotation[];
}

/** The sender of the message `target` put another content in the place of the last one. */
export interface Edit extends Entry {
  type: "edit";
  target: number;
  kind: string;
  content: Content;
}

/** The message `target` was taken back. */
export interface Recall extends Entry {
  type: "recall";
  target: number;
}

/** The sender of the event reacted to the message `target`, or no longer does. */
export interface Reacted extends Entry {
  type: "reaction";
  target: number;
  content: { emoji: string; on: boolean };
}

/** The plugin `sender` says something about the message `target`, under the name `kind`. */
export interface Annotated extends Entry {
  type: "annotation";
  target: number;
  kind: string;
  content: { value: unknown };
}

/** Actors joined or left. */
export interface Members extends Entry {
  type: "members";
  content: { joined: string[]; left: string[] };
}

/**
 * The detail of the event `event`, told apart by `type`. A newer server may send further types: ignore them, and never
 * show them as messages.
 */
export type LogEvent = Message | Edit | Recall | Reacted | Annotated | Members;

export interface Ack {
  id: string;
  conversation: string;
  seq: number;
  event: string;
  time: number;
  /** Another content than the one sent, if a plugin replaced it. */
  content?: Content;
}

export interface Conversation {
  id: string;
  kind: string;
  members: string[];
  epoch: number;
  seq: number;
  /** The newest event, not always a message. */
  last?: LogEvent;
}

/** Up to where a member has a conversation, as numbers of events. */
export interface Receipt {
  actor: string;
  delivered: number;
  read: number;
}

/** What is read and unread in a conversation, and up to where the others have it. */
export interface Marks {
  read: number;
  delivered: number;
  /** Messages of others behind `read`; 100 stands for 100 or more. */
  unread: number;
  receipts: Receipt[];
}

/** The detail of the event `signal`: something of the moment that a plugin says. */
export interface Signal {
  plugin: string;
  name: string;
  payload: unknown;
}

export interface Events {
  conversation: string;
  epoch: number;
  head: number;
  events: LogEvent[];
}

/** What waits for its ack: a message, or an act on one. */
export type Unsent = { id: string; conversation: string } & (
  | { type: "send"; kind: string; content: Content }
  | { type: "edit"; target: number; content: Content }
  | { type: "recall"; target: number }
  | { type: "react" | "unreact"; target: number; emoji: string }
);

/** Resolves with the ack; `id` is known at once. */
export type Sending = Promise<Ack> & { id: string };

export interface Options {
  url: string;
  device: string;
  app?: string;
  token?: string;
  storage?: Pick<Storage, "getItem" | "setItem">;
  WebSocket?: typeof WebSocket;
  /** Whether the others are told what arrived here; true if left out. */
  delivers?: boolean;
}

export declare class CourtyardError extends Error {
  readonly code: string;
  readonly retry: boolean;
}

export declare class Courtyard extends EventTarget {
  constructor(options: Options);
  readonly state: State;
  readonly actor?: string;
  readonly unsent: Unsent[];
  connect(token?: string): void;
  close(): void;
  send(conversation: string, content: Content, kind?: string): Sending;
  edit(conversation: string, target: number, content: Content): Sending;
  recall(conversation: string, target: number): Sending;
  react(conversation: string, target: number, emoji: string): Sending;
  unreact(conversation: string, target: number, emoji: string): Sending;
  /** Calls a method of a plugin. As all that is asked, it waits while the client connects, and fails with `offline` without a connection. */
  call<T = unknown>(method: string, params?: unknown): Promise<T>;
  auth(token: string): Promise<unknown>;
  /** Says that everything up to `seq` was read; resent after a broken connection, told to one's other devices. */
  markRead(conversation: string, seq: number): void;
  marks(conversation: string): Marks;
  /** Tells the others that one is writing; may be called with every key. */
  typing(conversation: string): void;
  /** A conversation as it is in `synced`, with its members and its newest event of now. */
  conversation(id: string): Conversation | undefined;
  /** Asks for what changed; needed only after a method that began a conversation of which no event came. */
  sync(): Promise<void>;
  /** Reads up to where all members have a conversation; those of large ones are not in `synced`. */
  receipts(conversation: string): Promise<Receipt[]>;
  history(conversation: string, range?: { after?: number; before?: number; limit?: number }): Promise<Events>;
}

/** A message with all that became of it. */
export type Folded = Message & Required<Pick<Message, "recalled" | "reactions" | "annotations">>;

/** The messages of one conversation, folded from live events and pages of history in any order. */
export declare class MessageList {
  /** Returns the message that is new or changed. `head` is the page's, for an event of a page. */
  add(event: LogEvent, head?: number): Folded | undefined;
  addPage(page: Pick<Events, "events" | "head">): void;
  clear(): void;
  get(seq: number): Folded | undefined;
  /** The lowest number of all events that were added; Infinity before the first. */
  readonly first: number;
  /** Oldest first. */
  readonly messages: Folded[];
}

/** Returns the number of the message that a message is a reply to: its `reply_to`, if that can be one. */
export declare function replyTo(message: { seq?: number; content: Content }): number | undefined;

/** Returns a message as it is after an event about it. */
export declare function revised<T extends Message>(message: T, event: LogEvent): T;

export declare function ulid(now?: number): string;
