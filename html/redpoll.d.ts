/**
 * The client of Redpoll, for browsers, Node from 20 on, Deno and what is like them: one module without dependencies.
 *
 * ```js
 * import { subscribe, publish } from "/redpoll.js";
 * const room = subscribe("/channel/lobby", { since: "earliest", onmessage: (message) => console.log(message.data) });
 * await room.publish("hello");
 * room.close();
 * ```
 *
 * A channel is a log and a subscriber is a position in it, the same on every transport: a connection that breaks, or is
 * exchanged for one of another kind, goes on exactly where the last one ended. What a position looks like is the server's
 * affair; the client keeps it and hands it back.
 *
 * ## Which transport
 *
 * The transports of a list are tried in order, without those that are missing here, such as a WebSocket in Node 20. A
 * transport counts as connected when the server's first words have come through: `subscribed` on a WebSocket, the first
 * `id:` of an event stream. Where they do not come within `patience`, a short poll asks the server itself:
 *
 * - it cannot be reached: the same transport is tried again, later and later, as `Retry-After` and `retry:` say;
 * - it refuses: that is the end, except for 408, 429 and 5xx;
 * - it answers: something in between does not let the transport through, and the next one has its turn. Where the attempt
 *   failed at once this is believed the second time, since the server may just have come back.
 *
 * A connection that ends within six patiences has died young; the third time its transport is given up too. So is an event
 * stream that is silent while a poll finds messages. While the transport in use is not the first of the list, the better
 * ones are tried beside it, after twelve patiences, then after twice as long each time, half an hour at most. Nothing is
 * interrupted: the new connection takes over once it is through, and what both bring is given to the page once.
 *
 * ## Hidden tabs, and several tabs
 *
 * A tab that has been hidden for `hidden` seconds polls, every ten `interval`s, and comes back at once when it is seen.
 *
 * Tabs that follow the same URL with the same options, and tokens with the same `sub` and rights, share one connection. The
 * tab that holds a lock has it (Web Locks) and tells the others what it hears (BroadcastChannel). Each keeps its own
 * position: a tab that comes later, or whose leader has gone, polls from there to where the leader is, so that nothing is
 * lost or repeated. When the leader is closed or crashes, the browser gives the lock to another. When the leader is hidden
 * for so long that it polls, or does not answer, a tab that is seen takes the lock over. Who shares publishes with POST.
 *
 * Web Locks need a secure context, and a browser that refuses cookies refuses them; where they, or tabs, are missing, each
 * subscription has a connection of its own.
 *
 * ## Tokens
 *
 * A WebSocket takes its token in the query, since a browser sends no field with it; everything else sends
 * `Authorization: Bearer`. A function is asked again when four fifths of the token's time are over, a minute before its end
 * at the latest, or when the server says that it has expired. The new one is shown on the socket, or to a second event
 * stream that takes over, or to the next poll. A text is used until it expires; then the subscription closes with 401.
 */

export type Transport = "websocket" | "sse" | "long-poll" | "poll";

/** Where to begin: a position, all that is kept, only what is new, or the newest message and then what is new. */
export type Since = string | "earliest" | "latest" | "last";

/** A token, or a function that is asked for one whenever the last one is about to expire. */
export type Token = string | (() => string | Promise<string>);

/** One message of a channel. */
export interface Message {
  channel: string;
  /** Its position. */
  id: string;
  /** Text, or bytes where binary was published. */
  data: string | Uint8Array;
  /** The name that the publisher gave it. */
  event?: string;
}

/** What was lost: everything after `from`, up to and with `to`. */
export interface Gap {
  channel: string;
  from?: string;
  /** Unknown on the polling transports. */
  to?: string;
}

/** Who comes and goes. A `join` of who is here already is by another transport; `members` is only their number: ask. */
export interface Presence {
  type: "join" | "leave" | "members";
  channel: string;
  name?: string;
  transport?: string;
  count?: number;
}

export interface State {
  state: "connecting" | "connected" | "reconnecting" | "closed";
  /** The one in use; with `shared`, that of the other tab. */
  transport: Transport;
  /** Why the last connection ended, in words; with "closed", why there will be no other. */
  reason?: string;
  /** With "closed", the HTTP status of the refusal that ended the subscription. */
  status?: number;
  /** With "reconnecting", after how many milliseconds the next attempt begins. */
  delayMs?: number;
  /** Whether the connection is that of another tab. */
  shared?: boolean;
  /** Whether the tab that has the connection polls because it is hidden. */
  hidden?: boolean;
}

export interface Options {
  /** `"latest"` unless said otherwise. */
  since?: Since;
  /** In the order in which they are tried; all four unless said otherwise. What does not exist here is left out. */
  transports?: Transport[];
  /** The same as a list of one, for pages that let people choose. */
  transport?: Transport;
  token?: Token;
  /** Seconds between two short polls, 2 by default. */
  interval?: number;
  /** Seconds that the server may hold a long poll, 25 by default. */
  wait?: number;
  /** Seconds after which a connection that owes an answer, or its first words, is given up; 5 by default. */
  patience?: number;
  /** Seconds after which a hidden tab polls, 60 by default; `false`: never. */
  hidden?: number | false;
  /** `false`: this tab has a connection of its own. */
  share?: boolean;
  /** Whether to be told who comes and goes. */
  presence?: boolean;
  /** The name under which the others see this client. */
  name?: string;
  onmessage?: (message: Message) => void;
  ongap?: (gap: Gap) => void;
  onpresence?: (presence: Presence) => void;
  onstate?: (state: State) => void;
}

export interface Published {
  channel: string;
  id: string;
  /** How many got it; a WebSocket does not say. */
  subscribers?: number;
}

/** Why a connection or a publication failed. */
export interface Failure extends Error {
  /** Of the server's refusal. */
  status?: number;
  /** Trying again would not help. */
  final?: boolean;
}

/** Follows a channel, or several joined by commas, until `close`. Throws a `TypeError` where no transport is left. */
export function subscribe(url: string | URL, options?: Options): Subscription;

/** A channel that is being followed. Made by `subscribe`. */
export class Subscription {
  private constructor();

  /** After everything that `onmessage` was given. Good for `since`, any time later. */
  readonly position: string;

  /** The transport in use. */
  readonly transport: Transport;

  /** Goes on over another transport, or the first of others that gets through, at once, from the same position. */
  setTransport(transports: Transport | Transport[]): void;

  /**
   * Publishes to the channel: over this tab's WebSocket where there is one, else with POST, in the order of the calls.
   *
   * Each message has a key by which the server knows it again. A WebSocket that ends before its answer does not say whether
   * the message was taken: then it is sent again, with POST or over the next WebSocket if that is there first, until it is
   * answered, for four minutes in all. It is published once even so.
   *
   * @param options `channel` is one of several; without it all get the message.
   * @returns an array for several channels
   */
  publish(data: string | BufferSource, options?: { event?: string; channel?: string }): Promise<Published | Published[]>;

  /** Who is present on the channel, or on one of several. */
  members(channel?: string): Promise<{ name: string; [member: string]: unknown }[]>;

  /** Ends the subscription. Nothing is delivered after this. */
  close(): void;
}

/**
 * Publishes with POST, again and again until it is done or hopeless. Every attempt carries the same `Idempotency-Key`, so
 * that an attempt whose answer was lost is not published a second time.
 *
 * @param options `key` is that of the Idempotency-Key, random unless given; `until` is the time, as of `Date.now()`, after
 *   which no attempt begins: four minutes from now, because the server knows a key for five.
 * @returns an array for several channels
 */
export function publish(
  url: string | URL,
  data: string | BufferSource,
  options?: { key?: string; event?: string; token?: Token; signal?: AbortSignal; until?: number },
): Promise<Published | Published[]>;
