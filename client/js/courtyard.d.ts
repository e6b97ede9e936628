export type State = "offline" | "connecting" | "anonymous" | "online" | "ended";

export interface Message {
  type: "message";
  id: string;
  conversation: string;
  seq: number;
  kind: string;
  sender: string;
  receiver?: string;
  client_id: string;
  content: Record<string, unknown>;
  time: number;
}

export interface Ack {
  id: string;
  conversation: string;
  seq: number;
  event: string;
  time: number;
  content?: Record<string, unknown>;
}

export interface Conversation {
  id: string;
  kind: string;
  members: string[];
  epoch: number;
  seq: number;
  last?: Message;
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
  events: Message[];
}

export interface Options {
  url: string;
  device: string;
  app?: string;
  token?: string;
  storage?: Pick<Storage, "getItem" | "setItem">;
  WebSocket?: typeof WebSocket;
}

export declare class CourtyardError extends Error {
  readonly code: string;
  readonly retry: boolean;
}

export declare class Courtyard extends EventTarget {
  constructor(options: Options);
  readonly state: State;
  readonly actor?: string;
  readonly unsent: { id: string; conversation: string; kind: string; content: Record<string, unknown> }[];
  connect(token?: string): void;
  close(): void;
  send(conversation: string, content: Record<string, unknown>, kind?: string): Promise<Ack> & { id: string };
  call<T = unknown>(method: string, params?: unknown): Promise<T>;
  auth(token: string): Promise<unknown>;
  history(conversation: string, range?: { after?: number; before?: number; limit?: number }): Promise<Events>;
}

export declare function ulid(now?: number): string;
