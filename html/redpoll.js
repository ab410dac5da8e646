/** Follows channels of Redpoll: `redpoll.d.ts` says how. */

const publishRetryMs = 4 * 60_000;

/** In patiences of a subscription. */
const silence = 6;

export function subscribe(url, options) {
  return new Subscription(url, options);
}

export async function publish(url, data, { key = randomKey(), event, token, signal, until = Date.now() + publishRetryMs, again } = {}) {
  const address = new URL(url, globalThis.location?.href);
  if (event) address.searchParams.set("event", event);
  const type = typeof data === "string" ? "text/plain;charset=utf-8" : "application/octet-stream";
  const headers = { "Content-Type": type, "Idempotency-Key": key };
  const init = { method: "POST", headers, body: data, token: token?.isDue ? token : tokenOf(token) };
  if (Date.now() > until) throw new Failure("the server could not be reached in time");
  for (let failures = 1; ; failures++) {
    try {
      return await again?.() ?? await request(address, init, 10_000, signal);
    } catch (failure) {
      const delayMs = backoff(Math.min(failures, 4), failure.retryAfterMs);
      if (signal?.aborted || failure.final || Date.now() + delayMs > until) throw failure;
      await sleep(delayMs, signal);
    }
  }
}

export class Subscription {
  #url;
  #options;
  #token;
  #transports;
  #transport;
  #positions;
  #seen = new Set();
  #closing = new AbortController();
  #leaving = this.#closing;
  #at;
  #strikes;
  #failures;
  #reason;
  #attempts = new Set();
  #current;
  #next;
  #isHidden = false;
  #leads;
  #group;
  #steal;
  #name = randomKey();
  /** A POST waits for the publication before it: they keep their order. */
  #sending = Promise.resolve();
  #unanswered = 0;
  #way;
  #news;

  constructor(url, options = {}) {
    const {
      since = "latest", interval = 2, wait = 25, patience = 5, hidden = 60, share = true, name, presence, token,
      transport, transports = transport ?? Object.keys(over), ...handlers
    } = options;
    this.#url = new URL(url, globalThis.location?.href);
    if (presence) this.#url.searchParams.set("presence", 1);
    if (name) this.#url.searchParams.set("name", name);
    this.#options = { since, interval, wait, hidden, share, patienceMs: patience * 1000, ...handlers };
    this.#token = tokenOf(token);
    this.#positions = new Map(channelsOf(this.#url).map((channel) => [channel]));
    this.#choose(transports);
    this.#run();
  }

  get position() {
    return this.#known ?? this.#options.since;
  }

  get transport() {
    return this.#transport;
  }

  setTransport(transports) {
    if (String(transports) === String(this.#transports)) return;
    this.#choose(transports);
    this.#leave();
  }

  async publish(data, { event, channel } = {}) {
    if (this.#closing.signal.aborted) throw new Failure("the subscription is closed");
    const to = channel === undefined ? [...this.#positions.keys()] : [channel];
    // A command names one channel.
    const socket = () => to[1] ? undefined : this.#current?.send;
    // Not past what goes another way.
    const send = this.#unanswered && this.#way !== socket() ? undefined : socket();
    if (!send && this.#unanswered >= 100) throw new Failure("100 messages are waiting already");
    this.#way = send;
    this.#unanswered += 1;
    // After silence no other connection lives.
    const again = () => socket()?.(to[0], data, options);
    const options = { key: randomKey(), event, token: this.#token, signal: this.#closing.signal, until: Date.now() + publishRetryMs, again };
    const before = this.#sending;
    const post = () => publish(this.#beside(to.map(encodeURIComponent)), data, options);
    // A socket that ends may have got it through: the server knows the key.
    const sent = (async () => await send?.(to[0], data, options) ?? before.then(post))();
    this.#sending = sent.catch(() => {}).then(() => { this.#unanswered -= 1; });
    return sent;
  }

  async members(channel = channelsOf(this.#url)[0]) {
    const address = this.#beside(`${encodeURIComponent(channel)}/members`);
    const all = [];
    for (;;) {
      const { members, next } = await request(address, { token: this.#token }, 10_000, this.#closing.signal);
      all.push(...members);
      if (!next) return all;
      address.searchParams.set("after", next);
    }
  }

  close() {
    this.#end();
  }

  #end(why) {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#leave();
    this.#leads = false;
    this.#tell({ state: "closed", ...why });
  }

  #choose(transports) {
    this.#transports = [].concat(transports).filter((transport) => over[transport]);
    [this.#transport] = this.#transports;
    if (!this.#transport) throw new TypeError(`"${transports}": expected one of ${Object.keys(over)}`);
    this.#at = this.#failures = 0;
    this.#strikes = {};
  }

  #leave() {
    this.#leaving.abort();
    this.#interrupt();
  }

  #interrupt() {
    this.#next = undefined;
    for (const attempt of this.#attempts) attempt.abort();
  }

  async #run() {
    // The caller has its subscription in hand before the first handler runs.
    await null;
    this.#watch(this.#closing);
    while (!this.#closing.signal.aborted) {
      const { signal } = this.#leaving = new AbortController();
      const key = await this.#key();
      this.#leads = !key;
      if (key) this.#share(key, signal);
      while (!signal.aborted) await this.#connect();
    }
  }

  async #connect() {
    const own = this.#isHidden ? "poll" : this.#transports[this.#at];
    const attempt = this.#current = this.#next ?? this.#begin(this.#leads && own);
    this.#next = undefined;
    if (!this.#failures && !attempt.openedMs) this.#tell({ state: "connecting", reason: this.#reason }, attempt);
    try {
      await attempt.done;
    } catch (failure) {
      // Stopped, or relieved by a trial.
      if (attempt.signal.aborted) return;
      const { message: reason, final, status, retryAfterMs } = failure;
      if (final) return this.#end({ reason, status });
      this.#reason = reason;
      if (this.#giveUp(attempt, failure)) return;
      this.#failures += 1;
      const delayMs = backoff(this.#failures, retryAfterMs);
      this.#tell({ state: "reconnecting", reason, delayMs }, attempt);
      await sleep(delayMs, attempt.signal);
    } finally {
      this.#drop(attempt);
    }
  }

  /** What a transport says is heard until it is stopped. */
  #begin(transport) {
    const attempt = new AbortController();
    const { signal } = attempt;
    const { interval, wait, patienceMs } = this.#options;
    const token = this.#token;
    const heard = (listener) => (...values) => signal.aborted || listener(...values);
    const address = (fields) => {
      const address = new URL(this.#url);
      for (const [name, value] of Object.entries({ since: this.position, ...fields })) address.searchParams.set(name, value);
      return address;
    };
    Object.assign(attempt, {
      transport, wait, patienceMs, token, address,
      group: this.#group,
      channels: [...this.#positions.keys()],
      interval: interval * (this.#isHidden ? 10 : 1),
      position: () => this.position,
      get: (fields, Accept, limitMs, read) => request(address(fields), { headers: { Accept }, token }, limitMs, signal, read),
      opened: heard((news, position) => this.#open(attempt, news, position)),
      reach: heard((position) => this.#reach(position)),
      deliver: heard((envelope) => this.#deliver(envelope)),
      steal: heard(() => this.#steal()),
    });
    this.#attempts.add(attempt);
    attempt.done = Promise.resolve(attempt).then(over[transport] ?? overTab);
    attempt.done.catch(() => {});
    return attempt;
  }

  #drop(attempt) {
    this.#attempts.delete(attempt);
    attempt.abort();
  }

  /** Three strikes: dying young is one, not getting through is more. */
  #giveUp({ transport, openedMs }, { late, strikes = openedMs ? 1 : 0 }) {
    const isOld = strikes < 2 && !late && Date.now() - openedMs > silence * this.#options.patienceMs;
    const count = this.#strikes[transport] = isOld ? 0 : (this.#strikes[transport] ?? 0) + strikes;
    if (count < 3 || this.#transports[this.#at] !== transport) return false;
    this.#at = (this.#at + 1) % this.#transports.length;
    if (this.#at === 1) this.#return(this.#leaving);
    if (this.#at) this.#failures = 0;
    return this.#at > 0;
  }

  #open(attempt, news, position) {
    if (attempt !== this.#current) {
      this.#at = this.#transports.indexOf(attempt.transport);
      this.#next = attempt;
      this.#current.abort();
    }
    if (!attempt.openedMs) this.#renew(attempt);
    attempt.openedMs ??= Date.now();
    this.#failures = 0;
    this.#reason = undefined;
    // What a trial begins with is old.
    if (position && !this.#known) this.#reach(position);
    this.#tell({ state: "connected", ...news }, attempt);
  }

  /** Tries better transports, while what works goes on. */
  async #return({ signal }) {
    const { patienceMs } = this.#options;
    while (this.#at && !signal.aborted) {
      const patiences = Math.min(12 * 2 ** (this.#strikes[this.#transports[0]] - 3), 360);
      await sleep(patiences * patienceMs * (1 + Math.random() / 4), signal);
      for (let at = 0; at < this.#at && this.#leads && !this.#isHidden && !signal.aborted; at++) {
        const trial = this.#begin(this.#transports[at]);
        await sleep(2 * patienceMs, signal);
        if (trial.openedMs) continue;
        this.#strikes[trial.transport] += 1;
        this.#drop(trial);
      }
    }
  }

  /** On the socket, or with a stream that takes over. */
  async #renew(attempt) {
    const { transport, signal } = attempt;
    while (/websocket|sse/.test(transport) && await this.#token.isDue(signal)) {
      const text = await this.#token.text().catch(() => sleep(this.#options.patienceMs, signal));
      if (text && attempt.renew) attempt.renew(text);
      else if (text) this.#begin(transport);
    }
  }

  #watch({ signal }) {
    const { addEventListener, document } = globalThis;
    // On another network what seemed to work may not.
    addEventListener?.("online", () => this.#interrupt(), { signal });
    // A page that was put aside may have lost its lock.
    addEventListener?.("pageshow", ({ persisted }) => persisted && this.#leave(), { signal });
    const { hidden } = this.#options;
    if (!document || hidden === false) return;
    let timer;
    const hide = (isHidden) => {
      if (this.#isHidden !== isHidden && this.#leads) this.#interrupt();
      this.#isHidden = isHidden;
    };
    const look = () => {
      clearTimeout(timer);
      timer = setTimeout(hide, document.hidden * hidden * 1000, document.hidden);
    };
    document.addEventListener("visibilitychange", look, { signal });
    look();
  }

  /** Tabs with the same key share the connection of the one that holds its lock. */
  async #key() {
    const { share, since, ...options } = this.#options;
    // None over plain HTTP, or where nothing may be stored.
    if (!share || !globalThis.document || !await navigator.locks?.query().catch(() => {})) return undefined;
    // Each tab has its own token.
    const { sub, redpoll } = claimsOf(await this.#token.text().catch(randomKey));
    return this.#url + JSON.stringify([this.#transports, options, sub, redpoll]);
  }

  async #share(key, signal) {
    const group = this.#group = new BroadcastChannel(key);
    let steal = false;
    const lead = (leads) => {
      this.#leads = leads;
      this.#interrupt();
      group.onmessage = leads ? ({ data }) => data.asks && this.#post() : null;
      this.#post();
    };
    const hold = () => {
      lead(true);
      return sleep(Infinity, signal);
    };
    while (!signal.aborted) {
      const waiting = new AbortController();
      signal.addEventListener("abort", () => waiting.abort());
      this.#steal = () => {
        steal = true;
        waiting.abort();
      };
      const options = steal ? { steal } : { signal: waiting.signal };
      steal = false;
      // Another tab may steal it.
      await navigator.locks.request(key, options, hold).catch(({ name }) => name === "AbortError" || hold());
      if (!signal.aborted) lead(false);
    }
    group.close();
  }

  #post(envelope) {
    if (this.#leads) this.#group?.postMessage({ from: this.#name, position: this.#known, envelope, news: this.#news });
  }

  get #known() {
    const positions = [...this.#positions.values()];
    return positions.includes(undefined) ? undefined : positions.join();
  }

  #reach(position) {
    const parts = position.split(",");
    for (const channel of this.#positions.keys()) this.#positions.set(channel, parts.shift());
  }

  #deliver(envelope) {
    const { channel, id, gap, data, base64, event, ...more } = envelope;
    const { onmessage, ongap, onpresence } = this.#options;
    const position = gap ? gap.to : id;
    if (position) this.#positions.set(channel, position);
    const key = `${channel} ${id}`;
    if (id && this.#seen.has(key)) return;
    this.#seen.add(key);
    if (this.#seen.size > 2048) this.#seen.delete(this.#seen.values().next().value);
    this.#post(envelope);
    const type = ["join", "leave", "members"].find((type) => more[type]);
    if (gap) call(ongap, { channel, ...gap });
    else if (type) call(onpresence, { type, channel, ...more[type] });
    else if (id) call(onmessage, { channel, id, event, data: base64 === undefined ? data : fromBase64(base64) });
  }

  #tell(news, attempt) {
    const told = { transport: attempt?.transport || this.#transport, hidden: this.#leads && this.#isHidden, ...news };
    if (JSON.stringify(told) === JSON.stringify(this.#news)) return;
    this.#news = told;
    this.#transport = told.transport;
    this.#post();
    call(this.#options.onstate, told);
  }

  #beside(path) {
    return new URL(path + this.#url.search, this.#url);
  }
}

// A transport follows the channel until it is stopped or fails; one that returns is begun again.

async function overWebSocket(link) {
  const token = await link.token.text();
  const failure = await new Promise((resolve) => {
    const address = link.address(token && { token });
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, "redpoll.v1");
    const unanswered = new Map();
    const cursors = [];
    let numberLast = 0;
    let timer;

    const end = (reason, code) => {
      clearTimeout(timer);
      // What seemed dead may yet come to life.
      socket.onmessage = socket.onclose = null;
      socket.close();
      link.send = undefined;
      if (code === 4001) link.token.forget();
      for (const { resolve } of unanswered.values()) resolve();
      resolve(new Failure(reason, { late: !code }));
    };
    socket.onclose = ({ code, reason }) => end(reason || "the connection was lost", code);

    const wait = () => {
      clearTimeout(timer);
      timer = !link.openedMs || unanswered.size
        ? setTimeout(end, link.patienceMs, "the server did not answer")
        : setTimeout(ask, silence * link.patienceMs, {});
    };

    // What was sent here is answered here, while the next connection begins.
    link.signal.addEventListener("abort", () => {
      link.send = undefined;
      if (unanswered.size) resolve();
      else end();
    });

    const command = (members) => new Promise((resolve, reject) => {
      numberLast += 1;
      unanswered.set(numberLast, { resolve, reject });
      socket.send(JSON.stringify({ ...members, ack: numberLast }));
      if (unanswered.size === 1) wait();
    });
    // Even an empty command is answered, with an error.
    const ask = (members) => command(members).catch(() => {});
    const send = async (channel, data, { event, key }) => {
      const content = typeof data === "string" ? { data: wellFormed(data) } : { base64: toBase64(data) };
      const answer = await command({ publish: channel, ...content, event: event && wellFormed(event), key });
      return answer && { channel, ...answer };
    };

    const answered = ({ ack, error, id }) => {
      const answer = unanswered.get(ack);
      unanswered.delete(ack);
      if (error) answer?.reject(new Failure(`${error.status} ${error.detail}`, { final: true }));
      else answer?.resolve({ id });
      if (link.signal.aborted && !unanswered.size) end();
    };

    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.ack) answered(message);
      else if (!message.subscribed) link.deliver(message);
      else if (cursors.push(message.cursor) === link.channels.length) {
        link.opened({}, cursors.join());
        link.send = send;
        link.renew = (token) => ask({ token });
      }
      if (socket.onmessage) wait();
    };
    wait();
  });
  if (!link.openedMs) await explain(link, failure, "WebSocket");
  throw failure;
}

/** A browser does not say why it got no WebSocket. A poll tells. */
async function explain(link, { late }, what) {
  await poll(link, 0);
  // The server may just have come back: twice.
  throw new Failure(`the server answers, but no ${what} gets through`, { strikes: late ? 3 : 2 });
}

/** `EventSource` hides events of other names, and signs of life. */
async function overEventStream(link) {
  let retryAfterMs;
  const take = ({ id, data, retry }) => {
    retryAfterMs = Number(retry) || retryAfterMs;
    const begins = !link.openedMs;
    // Not before: a proxy may hold back all but the head.
    if (begins) link.opened({}, id);
    const { error, ...envelope } = JSON.parse(data ?? "{}");
    if (error) {
      link.token.forget();
      throw new Failure(`${error.status} ${error.detail}`);
    }
    if (data) link.deliver(envelope);
    if (id && !begins) link.reach(id);
  };
  const read = async ({ body }, extend) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let event = {};
    for (;;) {
      const { done, value: text } = await reader.read();
      if (done) throw new Failure("the event stream ended");
      // A CR at the end may be one half of a line end.
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
        if (line) event[field] = field === "data" && event.data !== undefined ? `${event.data}\n${value}` : value;
        else {
          take(event);
          event = {};
        }
      }
      if (link.openedMs) extend(silence * link.patienceMs);
    }
  };
  try {
    await link.get({ form: "json" }, "text/event-stream", link.patienceMs, read);
  } catch (failure) {
    if (!link.openedMs && !failure.final) await explain(link, failure, "event stream");
    if (link.openedMs && failure.late) {
      // Silence may be but a long --ping: is there something to say?
      if (!await poll(link, 0)) return;
      throw new Failure("the event stream was held back", { strikes: 3 });
    }
    failure.retryAfterMs ??= retryAfterMs;
    throw failure;
  }
}

async function overLongPoll(link) {
  await poll(link, 0);
  for (;;) {
    link.opened();
    const began = Date.now();
    const count = await poll(link, link.wait);
    // A server on its way out answers without waiting.
    if (!count && Date.now() - began < 1000) await sleep(1000, link.signal);
  }
}

async function overPoll(link) {
  for (;;) {
    await poll(link, 0);
    link.opened();
    await sleep(link.interval * 1000, link.signal);
  }
}

const over = {
  // Node 20 has none.
  ...(globalThis.WebSocket && { "websocket": overWebSocket }),
  "sse": overEventStream, "long-poll": overLongPoll, "poll": overPoll,
};

async function poll(link, wait) {
  const from = link.position();
  const answer = await link.get({ wait }, "application/json", wait * 1000 + link.patienceMs);
  const { cursor, gap, gaps = gap ? link.channels : [], messages } = answer;
  for (const channel of gaps) link.deliver({ channel, gap: { from: from.split(",")[link.channels.indexOf(channel)] } });
  messages.forEach(link.deliver);
  link.reach(cursor);
  return messages.length;
}

function overTab(link) {
  const { group, signal, patienceMs } = link;
  return new Promise((resolve, reject) => {
    const positions = new Set();
    let leader;
    let last = Promise.resolve();
    let timer;
    const take = async ({ from, position, envelope, news }) => {
      if (leader && from !== leader) return resolve();
      // Packets have all that is published after the position of an answer.
      if (!leader && position && !envelope) {
        if (link.position() === "latest") link.reach(position);
        while (!positions.has(link.position()) && await poll(link, 0));
        leader = from;
      }
      if (leader && envelope) link.deliver(envelope);
      if (leader && position) link.reach(position);
      link.opened({ ...news, shared: true });
    };
    group.onmessage = ({ data }) => {
      if (data.asks) return;
      clearTimeout(timer);
      if (data.news.hidden && !document.hidden) link.steal();
      if (!leader) positions.add(data.position);
      last = last.then(() => take(data)).catch(reject);
    };
    // A leader that does not answer is frozen.
    const ask = () => {
      clearTimeout(timer);
      if (document.hidden) return;
      group.postMessage({ asks: true });
      timer = setTimeout(link.steal, patienceMs);
    };
    const asking = setInterval(ask, silence * patienceMs);
    document.addEventListener("visibilitychange", ask, { signal });
    signal.addEventListener("abort", () => {
      clearInterval(asking);
      clearTimeout(timer);
      resolve();
    });
    ask();
  });
}

class Failure extends Error {
  constructor(message, more) {
    super(message);
    Object.assign(this, more);
  }
}

function tokenOf(source) {
  const isFunction = typeof source === "function";
  let asked;
  let dueMs = Infinity;
  const forget = () => {
    asked = undefined;
    dueMs = Infinity;
    return isFunction;
  };
  const ask = async () => {
    try {
      const text = await source();
      const leftMs = claimsOf(text).exp * 1000 - Date.now();
      // Where the clock is wrong, the server says so.
      if (leftMs > 0) dueMs = Date.now() + Math.max(1000, 0.8 * leftMs, leftMs - 60_000);
      return text;
    } catch ({ message }) {
      forget();
      throw new Failure(`there is no token: ${message}`);
    }
  };
  return {
    forget,
    async text() {
      if (Date.now() >= dueMs) forget();
      return isFunction ? asked ??= ask() : source;
    },
    async isDue(signal) {
      while (!signal.aborted && Date.now() < dueMs) await sleep(dueMs - Date.now(), signal);
      return !signal.aborted;
    },
  };
}

function claimsOf(token) {
  try {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(base64));
  } catch {
    return { sub: token };
  }
}

async function request(address, init, limitMs, signal, read = (response) => response.json()) {
  const control = new AbortController();
  const stop = () => control.abort(new Failure("it was given up"));
  let timer;
  const extend = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(() => control.abort(new Failure("the server did not answer", { late: true })), ms);
  };
  const ask = async () => {
    const text = await init.token.text();
    const headers = text ? { ...init.headers, Authorization: `Bearer ${text}` } : init.headers;
    return fetch(address, { ...init, headers, cache: "no-store", signal: control.signal });
  };
  extend(limitMs);
  signal?.addEventListener("abort", stop, { signal: control.signal });
  if (signal?.aborted) stop();
  try {
    let response = await ask();
    if (response.status === 401 && init.token.forget()) response = await ask();
    const { ok, status, statusText, headers } = response;
    if (ok) return await read(response, extend);
    const { detail = statusText } = /problem.json/.test(headers.get("Content-Type")) ? await response.json() : {};
    // What the client did wrong stays wrong, but for too late and too often.
    const final = status < 500 && status !== 408 && status !== 429;
    const after = headers.get("Retry-After");
    const retryAfterMs = Math.max(0, after > 0 ? after * 1000 : Date.parse(after) - Date.now()) || undefined;
    throw new Failure(`${status} ${detail}`, { status, final, retryAfterMs });
  } catch (error) {
    if (control.signal.aborted) throw control.signal.reason;
    if (error instanceof Failure) throw error;
    // Such as a network's login page.
    throw new Failure(error instanceof SyntaxError ? "somebody else answered" : "the server cannot be reached");
  } finally {
    clearTimeout(timer);
    stop();
  }
}

/** Half is chance: a thousand must not come back at once. */
function backoff(failures, retryAfterMs = 0) {
  const full = Math.min(250 * 2 ** failures, 30_000);
  return retryAfterMs + full * (0.5 + Math.random() / 2);
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    // A timer that is set for longer goes off at once.
    const timer = setTimeout(wake, Math.min(ms, 2 ** 31 - 1));
    signal?.addEventListener("abort", wake);
  });
}

async function call(handler, value) {
  handler?.(value);
}

function channelsOf({ pathname }) {
  try {
    return pathname.split("/").pop().split(",").map(decodeURIComponent);
  } catch {
    throw new TypeError(`${pathname}: a name is not percent-encoded`);
  }
}

/** Half a surrogate pair is no JSON (RFC 8259 §8.2). */
function wellFormed(text) {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** `crypto.randomUUID` is missing over plain HTTP. */
function randomKey() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function toBase64(bytes) {
  return btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
}
