export type State = "offline" | "connecting" | "anonymous" | "online" | "ended";

/** Members of every event of a log. */
interface BaseEvent {
  id: string;
  conversation: string;
  seq: number;
  sender: string;
  receiver?: string;
  client_id: string;
  time: number;
}

/** The content of a message; its members depend on the kind. */
export type Content = Record<string, unknown>;

/** The actors who reacted with an emoji, oldest reaction first. */
export interface Reaction {
  emoji: string;
  actors: string[];
}

/** A value that a plugin attached to a message. */
export interface Annotation {
  plugin: string;
  name: string;
  value: unknown;
}

/** A message: as it was sent in live events, with its later changes in history and in a `MessageList`. */
export interface Message extends BaseEvent {
  type: "message";
  kind: string;
  /** The current content; empty after a recall. */
  content: Content;
  /** Time of the last edit; milliseconds since 1970. */
  edited?: number;
  recalled?: boolean;
  reactions?: Reaction[];
  annotations?: Annotation[];
}

/** The sender replaced the content of the message `target`. */
export interface Edit extends BaseEvent {
  type: "edit";
  target: number;
  kind: string;
  content: Content;
}

/** The message `target` was recalled. */
export interface Recall extends BaseEvent {
  type: "recall";
  target: number;
}

/** The sender reacted to the message `target`, or removed the reaction. */
export interface ReactionEvent extends BaseEvent {
  type: "reaction";
  target: number;
  content: { emoji: string; on: boolean };
}

/** The plugin `sender` annotated the message `target`, under the name `kind`. */
export interface AnnotationEvent extends BaseEvent {
  type: "annotation";
  target: number;
  kind: string;
  content: { value: unknown };
}

/** Actors joined or left the conversation. */
export interface MembersEvent extends BaseEvent {
  type: "members";
  content: { joined: string[]; left: string[] };
}

/**
 * The detail of the event `event`, discriminated by `type`. A newer server may send further types: ignore them, and never
 * show them as messages.
 */
export type LogEvent = Message | Edit | Recall | ReactionEvent | AnnotationEvent | MembersEvent;

export interface Ack {
  id: string;
  conversation: string;
  seq: number;
  event: string;
  time: number;
  /** The content that a plugin replaced the sent one with. */
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

/** The highest `seq` that a member received and read. */
export interface Receipt {
  actor: string;
  delivered: number;
  read: number;
}

/** The caller's marks in a conversation, and the receipts of the other members. */
export interface Marks {
  read: number;
  delivered: number;
  /** Messages of others after `read`; 100 means 100 or more. */
  unread: number;
  receipts: Receipt[];
}

/** The detail of the event `signal`: an ephemeral notification of a plugin. */
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

/** A request without an ack: a message, or an act on one. */
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
  /** `false` to send no delivery receipts; true if left out. */
  delivers?: boolean;
}

export declare class CourtyardError extends Error {
  readonly code: string;
  readonly retry: boolean;
  constructor(code: string, message: string, retry: boolean);
}

/** The detail of each event of a `Courtyard`. */
export interface CourtyardEvents {
  /** `retryAt` is the time of the next attempt, in milliseconds since 1970; `code` is the close code after `ended`. */
  state: { state: State; retryAt?: number; code?: number };
  /** Each event once, in the order of its conversation. */
  event: LogEvent;
  /** All conversations. */
  synced: Conversation[];
  /** The caller isn't a member any more. */
  left: { conversation: string };
  marks: Marks & { conversation: string };
  typing: { conversation: string; actor: string; on: boolean };
  /** The numbering restarts: discard the events of this conversation. */
  reset: { conversation: string; epoch: number };
  signal: Signal;
  sent: { id: string; ack: Ack };
  /** A request of the outbox that was rejected for good. */
  refused: { id: string; message: Unsent; error: CourtyardError };
}

/** An `EventTarget` whose listeners get the details of an event map. */
export interface TypedEventTarget<Events> extends EventTarget {
  addEventListener<Name extends keyof Events & string>(
    type: Name,
    listener: (event: CustomEvent<Events[Name]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof Events & string>(
    type: Name,
    listener: (event: CustomEvent<Events[Name]>) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** Exists for types alone: it is `EventTarget`. */
export declare const TypedEventTargetBase: { new <Events>(): TypedEventTarget<Events> };

/** A connection that reconnects by itself. */
export declare class Courtyard extends TypedEventTargetBase<CourtyardEvents> {
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
  /** Calls a method of a plugin. Like every request, it is queued while the client is connecting, and fails with `offline` without a connection. */
  call<T = unknown>(method: string, params?: unknown): Promise<T>;
  auth(token: string): Promise<unknown>;
  /** Marks everything up to `seq` as read, on all devices; resent after a broken connection. */
  markRead(conversation: string, seq: number): void;
  marks(conversation: string): Marks;
  /** Signals to the other members that the user is typing; throttled, so call it on every key press. */
  typing(conversation: string): void;
  /** Returns a conversation as in `synced`, with its current members and newest event. */
  conversation(id: string): Conversation | undefined;
  /** Requests changes; needed only after a method that created a conversation without an event. */
  sync(): Promise<void>;
  /** Fetches the receipts of all members; `synced` doesn't include those of large conversations. */
  receipts(conversation: string): Promise<Receipt[]>;
  history(conversation: string, range?: { after?: number; before?: number; limit?: number }): Promise<Events>;
}

/** A message with all its changes. */
export type FoldedMessage = Message & Required<Pick<Message, "recalled" | "reactions" | "annotations">>;

/** The messages of one conversation, folded from live events and pages of history added in any order. */
export declare class MessageList {
  /** Returns the new or changed message, if any. `head` is the page's, for an event of a page. */
  add(event: LogEvent, head?: number): FoldedMessage | undefined;
  addPage(page: Pick<Events, "events" | "head">): void;
  clear(): void;
  get(seq: number): FoldedMessage | undefined;
  /** The lowest `seq` of all added events; Infinity before the first. */
  readonly first: number;
  /** Oldest first. */
  readonly messages: FoldedMessage[];
}

/** Returns the `seq` of the message that a message replies to: its `reply_to`, if valid. */
export declare function replyTo(message: { seq?: number; content: Content }): number | undefined;

/** Applies an event to the message that it targets. */
export declare function revised<T extends Message>(message: T, event: LogEvent): T;

export declare function ulid(now?: number): string;
