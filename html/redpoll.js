/**
 * Redpoll in the browser: follow a channel over any of four transports.
 *
 *     import { subscribe } from "/redpoll.js";
 *     const room = subscribe("/channel/lobby", { since: "earliest", onmessage: (m) => console.log(m.data) });
 *     await room.publish("hello");
 *     room.setTransport("sse");
 *     room.close();
 *
 * A channel is a log and a subscriber is a position in it. The position is the same on every transport, so that
 * a connection that breaks, or is exchanged for one of another kind, goes on exactly where the last one ended.
 * What a position looks like is the server's affair: this module only keeps it and hands it back.
 *
 * @module redpoll
 */

/** @typedef {"websocket" | "sse" | "long-poll" | "poll"} Transport */

/**
 * One message of a channel.
 * @typedef {object} Message
 * @property {string} channel
 * @property {string} id  its position
 * @property {string | Uint8Array} data  text, or bytes where binary was published
 * @property {string} [event]  the name that the publisher gave it
 */

/**
 * What was lost: everything after `from`, up to and with `to`.
 * @typedef {object} Gap
 * @property {string} channel
 * @property {string} [from]
 * @property {string} [to]  unknown on the polling transports
 */

/**
 * @typedef {object} State
 * @property {"connecting" | "connected" | "reconnecting" | "closed"} state
 * @property {Transport} transport
 * @property {string} [reason]  why the last connection ended, in words; with "closed", why there will be no other
 * @property {number} [status]  with "closed", the HTTP status of the refusal that ended the subscription
 * @property {number} [delayMs]  when the next attempt begins
 */

/**
 * @typedef {object} Options
 * @property {string} [since]  a position, `"earliest"`, `"latest"` (only what is new, the default) or `"last"`
 * @property {Transport} [transport]  `"websocket"` unless said otherwise
 * @property {number} [interval]  seconds between two short polls, 2 by default
 * @property {number} [wait]  seconds that the server may hold a long poll, 25 by default
 * @property {number} [patience]  seconds after which a connection that owes an answer is given up, 10 by default
 * @property {(message: Message) => void} [onmessage]
 * @property {(gap: Gap) => void} [ongap]
 * @property {(state: State) => void} [onstate]
 */

/** A connection that owes an answer for this long is given up. */
const patienceMs = 10_000;

/**
 * A network can fall silent without a word. A silent WebSocket is asked for an answer after this many patiences; a
 * silent event stream, where the server has a comment every 25 seconds unless its operator says otherwise, is replaced.
 */
const probeAfter = 3;
const replaceAfter = 6;

/** Reconnecting waits this long at first, twice as long each time, and never longer than the second. */
const backoffMs = 500;
const backoffMaxMs = 30_000;

/** The server remembers an Idempotency-Key for five minutes; a retry after that could publish twice. */
const publishRetryMs = 4 * 60_000;

/** So many publications may wait for those before them. */
const waitingMax = 100;

/** How many ids are remembered to drop a repeat. More than two turns of delivery, and nothing to a browser. */
const seenMax = 512;

/**
 * Follows a channel, or several joined by commas, until `close`.
 * @param {string | URL} url  such as `/channel/lobby`
 * @param {Options} [options]
 * @returns {Subscription}
 */
export function subscribe(url, options) {
  return new Subscription(url, options);
}

/**
 * Publishes over HTTP, again and again until it is done or hopeless. Every attempt carries the same
 * Idempotency-Key, so that an attempt whose answer was lost is not published a second time.
 * @param {string | URL} url
 * @param {string | BufferSource} data
 * @param {{key?: string, event?: string, signal?: AbortSignal, until?: number}} [options]  `until` is the time, as of
 *   `Date.now()`, after which no attempt begins
 * @returns {Promise<{channel: string, id: string, subscribers: number}>}  an array of these for several channels
 */
export async function publish(url, data, { key = randomKey(), event, signal, until = Date.now() + publishRetryMs } = {}) {
  const address = absolute(url);
  if (event) address.searchParams.set("event", event);
  const headers = {
    "Content-Type": typeof data === "string" ? "text/plain;charset=utf-8" : "application/octet-stream",
    "Idempotency-Key": key,
  };
  if (Date.now() > until) throw new Failure("the server could not be reached in time");
  for (let failures = 1; ; failures++) {
    let failure;
    try {
      return await request(address, { method: "POST", headers, body: data }, patienceMs, signal);
    } catch (error) {
      failure = error;
    }
    // Somebody waits for it: the pauses stay short.
    const delayMs = backoff(Math.min(failures, 4), failure.retryAfterMs);
    if (signal?.aborted || failure.final || Date.now() + delayMs > until) throw failure;
    await sleep(delayMs, signal);
  }
}

/** A channel that is being followed. Made by `subscribe`. */
export class Subscription {
  #url;
  #options;
  /** @type {Transport} */
  #transport;
  /** Each channel's position, in the order of the URL; undefined until the server has given one. */
  #positions;
  /** Channel and id of the latest messages. Only a safety net: positions alone should never repeat one. */
  #seen = new Set();
  /** Ends the current connection, and the pause after it. */
  #stop = new AbortController();
  /** Ends what only `close` may end. */
  #closing = new AbortController();
  /** Sends over the WebSocket, while there is one. */
  #send = null;
  /** Ends with the last publication. A POST waits for it, so that one sender's messages keep their order. */
  #sending = Promise.resolve();
  /** POSTs that wait or are under way. */
  #posts = 0;
  #failures = 0;
  #state = "";

  constructor(url, options = {}) {
    const { since = "latest", transport = "websocket", interval = 2, wait = 25, patience = patienceMs / 1000, ...handlers } = options;
    this.#url = absolute(url);
    this.#options = { since, interval, wait, patience, ...handlers };
    this.#positions = new Map(channelsOf(this.#url).map((name) => [name, undefined]));
    this.#choose(transport);
    // The network is back, or is another: what seemed to work may not, and no pause need be sat out.
    globalThis.addEventListener?.("online", () => this.#interrupt(), { signal: this.#closing.signal });
    this.#run();
  }

  /** Where the subscriber stands: after everything that `onmessage` was given. Good for `since`, any time later. */
  get position() {
    const positions = [...this.#positions.values()];
    return positions.includes(undefined) ? this.#options.since : positions.join(",");
  }

  get transport() {
    return this.#transport;
  }

  /**
   * Goes on over another transport, at once, from the same position.
   * @param {Transport} transport
   */
  setTransport(transport) {
    if (transport === this.#transport) return;
    this.#choose(transport);
    this.#interrupt();
  }

  /**
   * Publishes to the channel: over the WebSocket where there is one, else with POST.
   *
   * A POST is repeated until it is answered. A message that went into a WebSocket is not, because a socket that ends
   * before its answer does not say whether the message was taken. Then the promise is rejected and `error.uncertain`
   * is true; if the message was taken, it will come back from the channel.
   * @param {string | Uint8Array} data
   * @param {{event?: string, channel?: string}} [options]  `channel` is one of several; without it all get the message
   */
  publish(data, { event, channel } = {}) {
    if (this.#closing.signal.aborted) return Promise.reject(new Failure("the subscription is closed", { final: true }));
    const to = channel === undefined ? [...this.#positions.keys()] : [channel];
    // Only when no POST is under way: otherwise this message would overtake it. And a command names one channel.
    if (this.#send && this.#posts === 0 && to.length === 1) {
      const sent = this.#send(to[0], data, event);
      this.#sending = sent.catch(() => {});
      return sent;
    }
    if (this.#posts >= waitingMax) return Promise.reject(new Failure(`${waitingMax} messages are waiting already`));
    this.#posts += 1;
    const address = new URL(to.map(encodeURIComponent).join(",") + this.#url.search, this.#url);
    const until = Date.now() + publishRetryMs;
    const sent = this.#sending.then(() => publish(address, data, { event, signal: this.#closing.signal, until }));
    this.#sending = sent.catch(() => {}).then(() => { this.#posts -= 1; });
    return sent;
  }

  /** Ends the subscription. Nothing is delivered after this. */
  close() {
    this.#end();
  }

  #end(why) {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#interrupt();
    this.#tell("closed", why);
  }

  #choose(transport) {
    if (!Object.hasOwn(transports, transport)) {
      throw new TypeError(`transport "${transport}": expected ${Object.keys(transports).join(", ")}`);
    }
    this.#transport = transport;
    this.#failures = 0;
  }

  /** One connection after the other, each from where the last one ended. */
  async #run() {
    // Whoever calls `subscribe` has its result in hand before the first handler runs.
    await null;
    while (!this.#closing.signal.aborted) {
      this.#stop = new AbortController();
      const { signal } = this.#stop;
      if (this.#failures === 0) this.#tell("connecting");
      try {
        await transports[this.#transport](this.#link(signal));
      } catch (failure) {
        // Stopped by `setTransport`, `close` or a new chance: not a failure.
        if (signal.aborted) continue;
        if (failure.final) return this.#end({ reason: failure.message, status: failure.status });
        this.#failures += 1;
        const delayMs = backoff(this.#failures, failure.retryAfterMs);
        this.#tell("reconnecting", { reason: failure.message, delayMs });
        await sleep(delayMs, signal);
      }
    }
  }

  /** What a transport is lent: where to go, from where on, and whom to tell. Nothing it says is heard once it was stopped. */
  #link(signal) {
    const heard = (listener) => (...values) => { if (!signal.aborted) listener(...values); };
    return {
      signal,
      channels: [...this.#positions.keys()],
      interval: this.#options.interval,
      wait: this.#options.wait,
      patienceMs: this.#options.patience * 1000,
      /** The channel's address with the position in it. */
      address: (fields = {}) => {
        const address = new URL(this.#url);
        for (const [name, value] of Object.entries({ since: this.position, ...fields })) address.searchParams.set(name, value);
        return address;
      },
      opened: heard(() => {
        this.#failures = 0;
        this.#tell("connected");
      }),
      /** A WebSocket lends its way to send, and takes it back with null. */
      lend: heard((send) => { this.#send = send; }),
      moved: heard((channel, position) => this.#positions.set(channel, position)),
      /** The same for all channels, joined by commas. */
      reached: heard((positions) => {
        const names = [...this.#positions.keys()];
        positions.split(",").forEach((position, index) => this.#positions.set(names[index], position));
      }),
      deliver: heard((envelope) => {
        if (envelope.gap) this.#lose(envelope);
        else if (envelope.id !== undefined) this.#deliver(envelope);
      }),
    };
  }

  #lose({ channel, gap }) {
    if (gap.to) this.#positions.set(channel, gap.to);
    call(this.#options.ongap, { channel, ...gap });
  }

  #deliver({ channel, id, data, base64, event }) {
    this.#positions.set(channel, id);
    const key = `${channel} ${id}`;
    if (this.#seen.has(key)) {
      console.warn(`redpoll: ${key} came twice over ${this.#transport}`);
      return;
    }
    this.#seen.add(key);
    if (this.#seen.size > seenMax) this.#seen.delete(this.#seen.values().next().value);
    call(this.#options.onmessage, { channel, id, event, data: base64 === undefined ? data : fromBase64(base64) });
  }

  #tell(state, more = {}) {
    const news = { state, transport: this.#transport, ...more };
    if (JSON.stringify(news) === this.#state) return;
    this.#state = JSON.stringify(news);
    call(this.#options.onstate, news);
  }

  #interrupt() {
    this.#send = null;
    this.#stop.abort();
  }
}

// The transports. Each is a function that follows the channel until it is stopped or fails, and rejects either way; one
// that returns is to be begun again at once.

/**
 * Both ways over one socket.
 *
 * A browser does not say why it got none, so a short poll asks: its refusal has a status and a Retry-After.
 */
async function overWebSocket(link) {
  if (!globalThis.WebSocket) throw new Failure("there is no WebSocket here: choose another transport", { final: true });
  const { opened, failure } = await socketUntilItEnds(link);
  if (!opened) {
    await poll(link, 0);
    throw new Failure("the server answers, but no WebSocket gets through");
  }
  throw failure;
}

/** The server pushes envelopes; commands go out with a number that the answer repeats. */
function socketUntilItEnds(link) {
  return new Promise((resolve) => {
    const address = link.address();
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, "redpoll.v1");
    const unanswered = new Map();
    let numberLast = 0;
    let subscribed = 0;
    let opened = false;
    let timer;

    const end = (reason, code) => {
      clearTimeout(timer);
      // A socket that seemed dead may yet come to life; then it speaks to nobody.
      socket.onmessage = socket.onclose = null;
      socket.close();
      link.lend(null);
      // What came before a message that is too large has been answered, and what comes after it is not read.
      const failure = code === 1009 ? new Failure(reason) : new Failure(`${reason} before the answer came`, { uncertain: true });
      for (const answer of unanswered.values()) answer.reject(failure);
      unanswered.clear();
      resolve({ opened, failure: new Failure(reason) });
    };
    socket.onclose = ({ code, reason }) => end(reason || closeReasons[code] || `the server closed with ${code}`, code);

    // Each sign of life begins the wait anew: for an answer where one is owed, else until it is time to ask for one.
    const wait = () => {
      clearTimeout(timer);
      timer = !opened || unanswered.size > 0
        ? setTimeout(end, link.patienceMs, "the server did not answer")
        : setTimeout(probe, probeAfter * link.patienceMs);
    };
    // A command without a command: the answer is an error, and that is enough.
    const probe = () => { command({}).catch(() => {}); };
    wait();

    // The next connection may begin at once, but what was sent here is answered here.
    const leave = () => {
      if (unanswered.size === 0) return end("the connection was given up");
      resolve({ opened: true, failure: new Failure("the connection was given up") });
    };
    link.signal.addEventListener("abort", leave, { once: true });

    const command = (members) => new Promise((resolve, reject) => {
      numberLast += 1;
      unanswered.set(numberLast, { resolve, reject });
      socket.send(JSON.stringify({ ...members, ack: numberLast }));
      if (unanswered.size === 1) wait();
    });
    const send = async (channel, data, event) => {
      const content = typeof data === "string" ? { data: wellFormed(data) } : { base64: toBase64(data) };
      const { id } = await command({ publish: channel, ...content, event: event && wellFormed(event) });
      return { channel, id };
    };

    const answered = ({ ack, error, id }) => {
      const answer = unanswered.get(ack);
      unanswered.delete(ack);
      if (error) answer?.reject(new Failure(`${error.status} ${error.detail}`, { final: true }));
      else answer?.resolve({ id });
      if (link.signal.aborted && unanswered.size === 0) end("the connection was given up");
    };

    const began = (channel, cursor) => {
      link.moved(channel, cursor);
      subscribed += 1;
      if (subscribed < link.channels.length) return;
      opened = true;
      link.lend(send);
      link.opened();
    };

    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.ack !== undefined) answered(message);
      else if (message.error) console.warn(`redpoll: ${message.error.detail}`);
      else if (message.subscribed !== undefined) began(message.subscribed, message.cursor);
      else link.deliver(message);
      if (socket.onmessage) wait();
    };
  });
}

/**
 * One answer that never ends.
 *
 * Not with `EventSource`, which drops every event whose name it was not told, hides the comments that show that the
 * stream lives, and does not say why it was refused.
 */
async function overEventStream(link) {
  const headers = { Accept: "text/event-stream" };
  let opened = false;
  let retryAfterMs;
  const read = async (response, extend) => {
    opened = true;
    link.opened();
    const silenceMs = replaceAfter * link.patienceMs;
    extend(silenceMs);
    for await (const { data, id, retry } of eventsOf(response.body, () => extend(silenceMs))) {
      retryAfterMs = retry ?? retryAfterMs;
      if (data !== undefined) link.deliver(JSON.parse(data));
      else if (id) link.reached(id);
    }
    throw new Failure("the event stream ended");
  };
  try {
    await request(link.address({ form: "json" }), { headers }, link.patienceMs, link.signal, read);
  } catch (failure) {
    // Silence may be but an operator's long --ping, so this alone is no failure: the next stream shows what is true.
    if (opened && failure.late) return;
    failure.retryAfterMs ??= retryAfterMs;
    throw failure;
  }
}

/** The events of a stream (WHATWG HTML §9.2.6), and what sets but an id or a retry time. `heard` is told of every byte. */
async function* eventsOf(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let event = {};
  for (;;) {
    const { done, value: bytes } = await reader.read();
    if (done) return;
    heard();
    // A CR at the end may be one half of a line end.
    const lines = (rest + decoder.decode(bytes, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
      if (line === "") {
        yield event;
        event = {};
      } else if (field === "data") {
        event.data = event.data === undefined ? value : `${event.data}\n${value}`;
      } else if (field === "id" && !value.includes("\0")) {
        event.id = value;
      } else if (field === "retry" && /^\d+$/.test(value)) {
        event.retry = Number(value);
      }
    }
  }
}

/** A question that the server holds until there is something to say. The first is short, to learn that it is there. */
async function overLongPoll(link) {
  await poll(link, 0);
  for (;;) {
    link.opened();
    const began = Date.now();
    const count = await poll(link, link.wait);
    // Something in between, or a server on its way out, answers without waiting: do not ask in a tight loop.
    if (count === 0 && Date.now() - began < 1000) await sleep(1000, link.signal);
  }
}

/** The same question again and again. */
async function overPoll(link) {
  for (;;) {
    await poll(link, 0);
    link.opened();
    await sleep(link.interval * 1000, link.signal);
  }
}

const transports = { "websocket": overWebSocket, "sse": overEventStream, "long-poll": overLongPoll, "poll": overPoll };

/** Asks once, delivers what came and moves on. Returns how many messages there were. */
async function poll(link, wait) {
  const from = link.address().searchParams.get("since");
  const headers = { Accept: "application/json" };
  const answer = await request(link.address({ wait }), { headers }, wait * 1000 + link.patienceMs, link.signal);
  const { cursor, gap, gaps = gap ? link.channels : [], messages } = answer;
  for (const channel of gaps) link.deliver({ channel, gap: { from: from.split(",")[link.channels.indexOf(channel)] } });
  messages.forEach(link.deliver);
  link.reached(cursor);
  return messages.length;
}

// What they share.

/** Why a connection or a publication failed. */
class Failure extends Error {
  /** @param {{status?: number, retryAfterMs?: number, final?: boolean, uncertain?: boolean, late?: boolean}} [more] */
  constructor(message, more = {}) {
    super(message);
    Object.assign(this, more);
  }
}

/**
 * `fetch` with a limit in time, whose every failure is a `Failure`. The limit holds for the body too, which `read` turns
 * into the result; it may extend the limit.
 */
async function request(address, init, limitMs, signal, read = (response) => response.json()) {
  const control = new AbortController();
  const stop = () => control.abort(new Failure("it was given up"));
  const late = () => control.abort(new Failure("the server did not answer", { late: true }));
  let timer = setTimeout(late, limitMs);
  const extend = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(late, ms);
  };
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    const response = await fetch(address, { ...init, cache: "no-store", signal: control.signal });
    if (!response.ok) throw refusal(response, await response.text());
    return await read(response, extend);
  } catch (error) {
    if (control.signal.aborted) throw control.signal.reason;
    if (error instanceof Failure) throw error;
    // Such as the page on which a network wants its visitors to log in.
    throw new Failure(error instanceof SyntaxError ? "somebody else answered" : "the server cannot be reached");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    // Also ends a body that was not read to its end.
    stop();
  }
}

/** An answer that is not a success, in words: the `detail` of problem details (RFC 9457) if there is one. */
function refusal(response, content) {
  const { status } = response;
  let detail = response.statusText;
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
    const problem = JSON.parse(content);
    detail = problem.detail ?? problem.title;
  }
  // What the client did wrong stays wrong, except for too late (408) and too often (429).
  const final = status < 500 && status !== 408 && status !== 429;
  return new Failure(`${status} ${detail}`, { status, final, retryAfterMs: retryAfter(response.headers.get("Retry-After")) });
}

/** RFC 9110 §10.2.3: seconds, or a date. */
function retryAfter(value) {
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Twice as long each time, of which half is left to chance so that a thousand clients do not come back at once. */
function backoff(failures, retryAfterMs = 0) {
  const full = Math.min(backoffMs * 2 ** (failures - 1), backoffMaxMs);
  return Math.round(retryAfterMs + full * (0.5 + Math.random() / 2));
}

/** Waits, or less if `signal` says so. */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal?.addEventListener("abort", wake);
  });
}

/** A handler that throws is the page's mistake; it must not stop delivery. */
function call(handler, value) {
  try {
    handler?.(value);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

function absolute(url) {
  return new URL(url, globalThis.location?.href);
}

/** The names in a channel's address. They are split at the commas first, as the server does it. */
function channelsOf(url) {
  try {
    return url.pathname.split("/").pop().split(",").map(decodeURIComponent);
  } catch {
    throw new TypeError(`${url}: a name in it is not percent-encoded as RFC 3986 says`);
  }
}

/** Half a surrogate pair is no character, and no JSON text that a server could read (RFC 8259 §8.2). */
function wellFormed(text) {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** Not `crypto.randomUUID`, which is missing on a page that came over plain HTTP from another machine. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function toBase64(bytes) {
  return btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
}

/** RFC 6455 §7.4.1 and the server's own codes, in words. */
const closeReasons = {
  1001: "the server is going away",
  1006: "the connection was lost",
  1009: "the message was too large",
  1012: "the server is restarting",
  1013: "the server is busy",
  4001: "the token has expired",
  4008: "this connection was too slow",
};
