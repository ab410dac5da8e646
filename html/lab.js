/**
 * The lab: one stream of messages over four transports side by side.
 *
 * The page publishes to a channel of its own and follows it four times. A message is its number, when it was sent by
 * this page's own clock, and padding: `12 3456.7 xxxxxxxx`. What went over the wire the server tells (`/lab/wire`), by
 * the key that each subscription has brought with it.
 */
import { check } from "/lab-check.js";
import { say, translate } from "/lab-texts.js";
import { Frames, showHandshake } from "/lab-wire.js";
import { address, sleep } from "/page.js";
import { subscribe } from "/redpoll.js";
import { number, size, time } from "/texts.js";

const channel = `lab-${randomKey().slice(0, 12)}`;

const chartMs = 30_000;
const wireMs = 1_000;
/** Delays that the median is of. */
const delaysMax = 500;
/** Publishing begins when every transport is there, or at least after this long. */
const startMs = 4_000;

/** Each column's, in their order; those that the server tells come last. */
const figures = ["delay", "median", "most", "messages", "each", "overhead", "down", "up", "requests", "quiet"];

const element = (id) => document.getElementById(id);
const controls = element("controls").elements;
const quieter = matchMedia("(prefers-reduced-motion: reduce)");

let published = 0;
let paused = false;
let changed = false;
let unrecorded = false;
let trouble = "";

/** Not to be guessed: whoever knows it sees what went over the wire. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What a subscription that is to be shown asks for. */
function watched(name, key) {
  return address(`/channel/${name}`, { tap: key, ...(controls.deflate.checked ? {} : { deflate: "off" }) });
}

class Column {
  key = randomKey();
  state = "connecting";
  received = 0;
  missing = 0;
  payload = 0;
  delays = [];
  /** What had gone over the wire when the controls were last changed; not known until the server says. */
  base = { up: 0, down: 0, requests: 0, received: 0, payload: 0 };
  #subscription;
  #next;
  /** When each message of late came, and how late. */
  #late = [];
  #context;

  constructor(transport) {
    this.transport = transport;
    const card = element("column").content.cloneNode(true).firstElementChild;
    card.dataset.transport = transport;
    card.querySelector("use").setAttribute("href", `#icon-${transport}`);
    card.querySelector(".label").textContent = say(transport);
    this.canvas = card.querySelector("canvas");
    this.#context = this.canvas.getContext("2d");
    this.values = Object.fromEntries(figures.map((key) => {
      const [pair, name, value] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      name.textContent = say(key);
      value.dataset.value = key;
      pair.append(name, value);
      card.querySelector("dl").append(pair);
      return [key, value];
    }));
    this.stateText = card.querySelector(".state");
    this.hint = card.querySelector(".hint");
    this.bar = card.querySelector(".bar");
    this.card = card;
    element("columns").append(card);
  }

  /** From where the last connection ended, so that nothing is lost. */
  connect() {
    const since = this.#subscription?.position ?? "latest";
    this.#subscription?.close();
    this.#subscription = subscribe(watched(channel, this.key), {
      transport: this.transport,
      share: false,
      hidden: false,
      since,
      interval: Number(controls.interval.value),
      wait: Number(controls.wait.value),
      onmessage: (message) => this.#receive(message),
      // What ends without a reason was closed here, for another to follow.
      onstate: ({ state, reason }) => { if (state !== "closed" || reason) [this.state, this.reason] = [state, reason]; },
    });
  }

  /** Counts anew, but for the messages: their numbers show that none is missing. */
  reset() {
    this.delays = [];
    this.base = undefined;
    this.counted = undefined;
  }

  #receive({ data }) {
    const [numberOf, sent] = data.split(" ").map(Number);
    if (!(numberOf >= (this.#next ?? 0))) return;
    this.missing += this.#next === undefined ? 0 : numberOf - this.#next;
    this.#next = numberOf + 1;
    this.received += 1;
    this.payload += data.length;
    const now = performance.now();
    this.#late.push({ now, ms: Math.max(0, now - sent) });
    this.delays.push(now - sent);
    if (this.delays.length > delaysMax) this.delays.shift();
  }

  /** Takes what the server has counted, `null` where it has not. */
  count(tap) {
    this.counted = undefined;
    if (!tap) return;
    const { received, payload } = this;
    const now = { up: tap.received.bytes, down: tap.sent.bytes, requests: tap.requests, received, payload };
    this.base ??= now;
    this.counted = Object.fromEntries(Object.keys(now).map((key) => [key, now[key] - this.base[key]]));
    this.quietSince = performance.now() - tap.quiet_ms;
  }

  show() {
    const { values, counted, delays } = this;
    this.card.dataset.state = this.state;
    this.stateText.textContent = say(this.state);
    this.hint.textContent = this.reason ?? say(`${this.transport} hint`);
    const sorted = delays.toSorted((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
    values.delay.textContent = time(delays.at(-1));
    values.median.textContent = time(at(0.5));
    values.most.textContent = time(at(0.95));
    values.messages.textContent = this.missing ? say("missing", number(this.received), number(this.missing)) : number(this.received);
    if (!counted) {
      for (const key of figures.slice(4)) values[key].textContent = "–";
      return;
    }
    const wire = counted.up + counted.down;
    const overhead = 1 - counted.payload / wire;
    values.each.textContent = counted.received ? size(wire / counted.received) : "–";
    values.overhead.textContent = percent(counted.received ? overhead : NaN);
    this.bar.classList.toggle("known", counted.received > 0);
    this.bar.firstElementChild.style.width = `${Math.max(0, overhead) * 100}%`;
    values.down.textContent = size(counted.down);
    values.up.textContent = size(counted.up);
    values.requests.textContent = number(counted.requests);
    values.quiet.textContent = say("ago", time(Math.round((performance.now() - this.quietSince) / 100) * 100));
  }

  /** The same in words, for those who do not see the chart. */
  describe() {
    const delays = this.#late.map(({ ms }) => ms).sort((a, b) => a - b);
    const [median, highest] = [delays[delays.length >> 1], delays.at(-1)];
    this.canvas.setAttribute("aria-label", say("chart", say(this.transport), time(median), time(highest)));
  }

  /** Each message a dot: when it came from left to right, how late from bottom to top, each line ten times the last. */
  draw(colours) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = devicePixelRatio;
    if (this.canvas.width !== Math.round(width * scale)) {
      [this.canvas.width, this.canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    }
    const context = this.#context;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const above = (ms) => height - 18 - ((height - 32) * Math.log10(Math.max(ms, 1))) / 4;
    context.font = "11px system-ui, sans-serif";
    for (const [ms, label] of [[1, "1 ms"], [10, ""], [100, "0.1 s"], [1000, ""], [10_000, "10 s"]]) {
      context.fillStyle = colours.line;
      context.fillRect(0, Math.round(above(ms)), width, 1);
      context.fillStyle = colours.quiet;
      context.fillText(label, 0, above(ms) - 3);
    }
    context.fillText(say("earlier"), 36, height - 3);
    context.textAlign = "right";
    context.fillText(say("now"), width, height - 3);
    context.textAlign = "left";
    const now = performance.now();
    this.#late = this.#late.filter((late) => now - late.now < chartMs);
    context.fillStyle = colours.dot;
    for (const late of this.#late) {
      context.beginPath();
      context.arc(36 + (width - 40) * (1 - (now - late.now) / chartMs), above(late.ms), 2.2, 0, 7);
      context.fill();
    }
  }
}

function percent(share) {
  if (Number.isNaN(share)) return "–";
  const text = `${Math.round(Math.abs(share) * 100)} %`;
  return share < 0 ? say("saved", text) : text;
}

// Begin.

translate();
const columns = ["websocket", "sse", "long-poll", "poll"].map((transport) => new Column(transport));
const frames = new Frames({ name: `${channel}-frames`, key: randomKey(), watched, readWire });
columns.forEach((column) => column.connect());
publishOn();
count();
setInterval(show, 250);
setInterval(() => columns.forEach((column) => column.describe()), 2_000);
let colours = palette();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours = palette(); });
requestAnimationFrame(animate);

element("controls").addEventListener("change", ({ target }) => {
  changed = true;
  columns.forEach((column) => column.reset());
  const of = { interval: ["poll"], wait: ["long-poll"], deflate: ["websocket"] }[target.name] ?? [];
  columns.filter(({ transport }) => of.includes(transport)).forEach((column) => column.connect());
  if (target.name === "deflate") frames.again();
});
element("controls").addEventListener("submit", (event) => event.preventDefault());
element("pause").addEventListener("click", () => {
  paused = !paused;
  element("pause").textContent = say(paused ? "resume" : "pause");
});
element("check").addEventListener("click", async ({ target }) => {
  target.disabled = true;
  await check({ address, name: `${channel}-check`, list: element("findings") });
  target.disabled = false;
  target.textContent = say("recheck");
});

/** Publishes one message after the other, each when its time has come and the one before has arrived. */
async function publishOn() {
  const begin = performance.now();
  while (columns.some(({ state }) => state !== "connected") && performance.now() - begin < startMs) await sleep(20);
  let due = performance.now();
  for (;;) {
    await sleep(Math.max(0, due - performance.now()));
    if (!paused && !document.hidden) await publish();
    due = Math.max(due + 1000 / Number(controls.rate.value), performance.now());
  }
}

async function publish() {
  const begin = `${published} ${performance.now().toFixed(1)} `;
  const padding = Array.from({ length: Math.max(0, Number(controls.size.value) - begin.length) }, () => Math.floor(Math.random() * 36).toString(36));
  try {
    const response = await fetch(address(`/channel/${channel}`), { method: "POST", body: begin + padding.join("") });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? response.status);
    published += 1;
    trouble = "";
  } catch (error) {
    trouble = say("unpublished", error.message);
    await sleep(1_000);
  }
}

/** What the server has counted under these keys. */
async function readWire(name, keys) {
  const response = await fetch(address("/lab/wire", { channel: name, tap: keys.join(",") }), { cache: "no-store" });
  return response.ok ? response.json() : keys.map(() => null);
}

async function count() {
  for (;;) {
    const taps = document.hidden ? [] : await readWire(channel, columns.map(({ key }) => key)).catch(() => []);
    taps.forEach((tap, index) => columns[index].count(tap));
    unrecorded = taps.some((tap, index) => !tap && columns[index].received > 0);
    if (taps[0]) showHandshake(taps[0].received.head, taps[0].sent.head);
    await sleep(wireMs);
  }
}

function show() {
  columns.forEach((column) => column.show());
  const notice = trouble || (unrecorded && say("unrecorded")) || (paused && say("paused")) || (changed && say("since")) || "";
  if (element("notice").textContent !== notice) element("notice").textContent = notice;
}

let drawn = 0;
function animate(now) {
  // Where motion is unwelcome, the chart is still true, but moves on seldom.
  if (now - drawn > (quieter.matches ? 1_000 : 30)) {
    drawn = now;
    columns.forEach((column) => column.draw(colours));
  }
  requestAnimationFrame(animate);
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  return { line: style.getPropertyValue("--line"), quiet: style.getPropertyValue("--quiet"), dot: style.getPropertyValue("--link") };
}
