/** The lab's proxy check: what passes between this page and the server, and what to tell whatever stands between. */
import { say } from "/lab-texts.js";
import { sleep } from "/page.js";
import { size, time } from "/texts.js";

const chunks = 8;
const chunkMs = 500;
/** Later than this is not the network. */
const lateMs = 1_000;
/** How long a chunk may be missing before it is called held. */
const patienceMs = 5_000;
/** More than proxies usually gather: 4 or 8 KB, sometimes 64. */
const flushes = 10;
const flushBytes = 16_000;
const socketMs = 5_000;
const pollMs = 3_000;

const apache = "ProxyPass / http://127.0.0.1:8080/ upgrade=websocket flushpackets=on";
/** Lines for the configuration of a proxy, by what they are against. None is refused where another is there already. */
const lines = {
  host: {
    nginx: "proxy_set_header Host $http_host;",
    Apache: "ProxyPreserveHost On",
  },
  stream: {
    nginx: "proxy_buffering off;",
    Caddy: "reverse_proxy 127.0.0.1:8080 {\n  flush_interval -1\n}",
    Apache: apache,
  },
  socket: {
    nginx: "proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection \"upgrade\";",
    Apache: apache,
  },
  wait: {
    nginx: "proxy_read_timeout 150s;",
    Apache: "ProxyTimeout 150",
  },
};

/** Tries everything, one after the other, and lists what was found. */
export async function check({ address, name, list }) {
  const waiting = finding("", say("checking"));
  list.replaceChildren(waiting);
  const way = new Way(address, name);
  let fine = true;
  for (const step of [way.who, way.publisher, way.stream, way.socket, way.poll]) {
    const found = await step.call(way).catch((error) => ({ kind: "bad", text: say("unchecked", error.message) }));
    if (!found) continue;
    fine &&= found.kind !== "bad";
    waiting.before(finding(found.kind, found.text, found.lines && ordered(found.lines, way.server)));
    if (found.isLast) break;
  }
  waiting.remove();
  if (fine) list.append(finding("good", say("allFine")));
}

class Way {
  server = "";
  #address;
  #name;

  constructor(address, name) {
    this.#address = address;
    this.#name = name;
  }

  #channel(fields) {
    return this.#address(`/channel/${this.#name}`, fields);
  }

  async #publish(text) {
    const response = await fetch(this.#channel(), { method: "POST", body: text });
    if (response.ok) return;
    const { detail = response.statusText } = await response.json().catch(() => ({}));
    throw new Error(`${response.status} ${detail}`);
  }

  /** Redpoll does not name itself, so whoever does is another. */
  async who() {
    const { headers } = await fetch(this.#address("/healthz"), { cache: "no-store" });
    this.server = [headers.get("Server"), headers.get("Via")].filter(Boolean).join(", ");
    return { kind: "", text: this.server ? say("named", this.server) : say("unnamed") };
  }

  /** Nothing below works for a page that may not publish. Which pages are its own the server knows by their Host. */
  async publisher() {
    const refused = await this.#publish("whether this page may").catch(({ message }) => message);
    if (!refused) return undefined;
    const isForeign = refused.startsWith("403 this origin");
    return { kind: "bad", text: isForeign ? say("hostChanged") : say("unchecked", refused), lines: isForeign && lines.host, isLast: true };
  }

  /** Timed chunks through an event stream: when the server had each, and when it came back. */
  async stream() {
    const control = new AbortController();
    const arrived = new Map();
    let coding = null;
    const reading = this.#read(control.signal, (number) => { if (!arrived.has(number)) arrived.set(number, performance.now()); }, (response) => {
      coding = response.headers.get("Content-Encoding");
    });
    reading.catch(() => {});
    // A proxy that holds even the head back must not stop the check.
    await Promise.race([reading.begun, sleep(2_000)]);
    const sent = [];
    const began = performance.now();
    try {
      for (let number = 0; number < chunks; number++) {
        await this.#publish(`chunk ${number} `);
        sent.push(performance.now());
        await sleep(began + (number + 1) * chunkMs - performance.now());
      }
      const all = () => sent.every((_, number) => arrived.has(number));
      await until(all, patienceMs);
      const held = performance.now() - began;
      let extra = 0;
      for (; !all() && extra < flushes; extra++) {
        await this.#publish(`padding ${"x".repeat(flushBytes)}`);
        await sleep(100);
      }
      const found = judged(sent, arrived, held, extra * flushBytes);
      return coding && found.kind === "bad" ? { ...found, text: `${say("streamCoded", coding)} ${found.text}` } : found;
    } finally {
      control.abort();
    }
  }

  #read(signal, seen, began) {
    let begin;
    const begun = new Promise((resolve) => { begin = resolve; });
    const read = async () => {
      const response = await fetch(this.#channel(), { headers: { Accept: "text/event-stream" }, cache: "no-store", signal });
      began(response);
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        begin();
        if (done) return;
        text = (text + decoder.decode(value, { stream: true })).slice(-200_000);
        for (const [, number] of text.matchAll(/^data: ?chunk (\d+) /gm)) seen(Number(number));
      }
    };
    return Object.assign(read(), { begun });
  }

  async socket() {
    const address = this.#channel();
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    const opened = await event(socket, "open", socketMs);
    if (!opened) {
      socket.close();
      // A browser does not say why; a plain request with the same question may.
      return { kind: "bad", text: say("socketRefused", ""), lines: lines.socket };
    }
    const began = performance.now();
    const answer = event(socket, "message", socketMs);
    socket.send("there and back");
    const came = await answer;
    socket.close();
    return came
      ? { kind: "good", text: say("socketFine", time(performance.now() - began)) }
      : { kind: "bad", text: say("socketSilent", time(socketMs)), lines: lines.socket };
  }

  /** A question that is answered after a while, by a message. */
  async poll() {
    const { cursor } = await (await fetch(this.#channel(), { headers: { Accept: "application/json" }, cache: "no-store" })).json();
    const began = performance.now();
    const asking = fetch(this.#channel({ since: cursor, wait: 20 }), { headers: { Accept: "application/json" }, cache: "no-store" })
      .then(async (response) => ({ status: response.status, messages: response.ok ? (await response.json()).messages.length : 0, at: performance.now() }))
      .catch(() => ({ status: 0, messages: 0, at: performance.now() }));
    const early = await Promise.race([asking, sleep(pollMs)]);
    if (early) {
      return { kind: "bad", text: say("pollCut", time(early.at - began), early.status && early.status !== 200 ? ` (${early.status})` : ""), lines: lines.wait };
    }
    await this.#publish("answer");
    const sent = performance.now();
    const { at } = await asking;
    return at - sent > lateMs
      ? { kind: "bad", text: say("pollLate", time(at - sent)), lines: lines.stream }
      : { kind: "good", text: say("pollFine", time(sent - began)) };
  }
}

/** What arrival times say. */
function judged(sent, arrived, heldMs, extraBytes) {
  const delays = sent.map((at, number) => arrived.get(number) - at).filter((delay) => !Number.isNaN(delay));
  const longest = Math.max(0, ...delays);
  if (delays.length < sent.length) {
    return { kind: "bad", text: say("streamNever", sent.length, delays.length, time(heldMs)), lines: lines.stream };
  }
  if (extraBytes > 0) return { kind: "bad", text: say("streamHeld", time(heldMs), size(extraBytes)), lines: lines.stream };
  if (longest > lateMs) return { kind: "bad", text: say("streamLate", time(longest)), lines: lines.stream };
  return { kind: "good", text: say("streamFine", time(longest)) };
}

/** The lines for the proxy that has named itself, or for all. */
function ordered(byProxy, server) {
  const known = Object.entries(byProxy).filter(([name]) => server.toLowerCase().includes(name.toLowerCase()));
  return known.length > 0 ? known : Object.entries(byProxy);
}

function finding(kind, text, advice = []) {
  const item = document.createElement("li");
  item.dataset.kind = kind;
  item.append(text);
  for (const [name, config] of advice) {
    const [figure, caption, code] = ["figure", "figcaption", "pre"].map((tag) => document.createElement(tag));
    caption.textContent = name;
    code.textContent = config;
    // Where it is wider than the page, keys move it too.
    code.tabIndex = 0;
    figure.append(caption, code);
    item.append(figure);
  }
  return item;
}

function event(target, name, limitMs) {
  return new Promise((resolve) => {
    target.addEventListener(name, () => resolve(true), { once: true });
    target.addEventListener("close", () => resolve(false), { once: true });
    setTimeout(resolve, limitMs, false);
  });
}

async function until(holds, limitMs) {
  const end = performance.now() + limitMs;
  while (!holds() && performance.now() < end) await sleep(50);
}
