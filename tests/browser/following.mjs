/**
 * The browser client in bad networks, in several tabs, and with tokens, in three browsers, in Node and in Deno: whatever
 * happens, a page shows the numbers 1 to N, each once and in order.
 *
 *     node tests/browser/following.mjs target/release/redpoll [chromium|firefox|webkit|node|deno ...]
 */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startChromium, startFirefox, startWebKit } from "./browsers.mjs";
import { check, checkEqual, run, sleep, startServer, until } from "./harness.mjs";
import { startProxy } from "./proxy.mjs";

const transports = ["websocket", "sse", "long-poll", "poll"];
const secret = "a secret of the tests, 32 bytes long";
const starts = { chromium: startChromium, firefox: startFirefox, webkit: startWebKit };
const deno = fileURLToPath(new URL("node_modules/.bin/deno", import.meta.url));
const runtimes = {
  node: { name: "Node", command: [process.execPath], ...globalThis.WebSocket ? { transport: "websocket", next: "sse" } : { transport: "sse", next: "long-poll" } },
  deno: { name: "Deno", command: [deno, "run", "--allow-all"], transport: "websocket", next: "sse" },
};

await run(async (binary, cleanup) => {
  const named = process.argv.slice(3);
  for (const name of named.length ? named : [...Object.keys(starts), ...Object.keys(runtimes)]) {
    const began = Date.now();
    if (runtimes[name]) {
      await inRuntime(runtimes[name], binary, cleanup);
    } else {
      const browser = await starts[name]();
      cleanup(() => browser.close());
      await inBrowser(browser, binary, cleanup, name === "chromium" || named.length > 0);
      await browser.close();
    }
    console.log(`${name}: ${Math.round((Date.now() - began) / 1000)} s`);
  }
});

/** In Chromium all, and in a browser that was named; in the others what differs from browser to browser. */
async function inBrowser(browser, binary, cleanup, all) {
  const world = async (name, flags = []) => {
    const place = { name: `${browser.name}: ${name}`, browser, binary, flags, channel: name.replaceAll(" ", "-") };
    place.server = await startServer(binary, 0, ["--history", "1000", ...flags]);
    cleanup(() => place.server.stop());
    place.proxy = await startProxy(() => place.server.port);
    return place;
  };
  // They mostly wait, so they wait together.
  await Promise.all([
    fourTransports(await world("each transport")),
    refusedSocket(await world("WebSockets refused")),
    heldStream(await world("streams held back")),
    outage(await world("outage")),
    restart(await world("restart")),
    ...all ? [
      swallowedSocket(await world("WebSockets swallowed")),
      stuckStream(await world("streams that get stuck")),
      dyingSocket(await world("WebSockets that die young")),
    ] : [],
  ]);
  // Here it matters which of the tabs is in front.
  await twoTabs(await world("two tabs"));
  await hiddenTab(await world("a hidden tab"));
  await withoutLocks(await world("without locks"), "&without-locks");
  if (browser.name === "Firefox") {
    // Locks and channels between tabs are there, and refuse.
    const strict = await startFirefox({ "network.cookie.cookieBehavior": 2 });
    cleanup(() => strict.close());
    await withoutLocks({ ...await world("cookies refused"), browser: strict });
    await strict.close();
  }
  if (browser.name === "Chromium") {
    await crash(await world("a crash"));
    await hangs(await world("a leader that hangs"));
  }
  if (!all) return;
  await Promise.all([
    presence(await world("presence")),
    ...transports.map(async (transport) => tokens(await world(`tokens over ${transport}`, ["--secret", secret]), transport)),
  ]);
  await lateToken(await world("a token too late", ["--secret", secret]));
}

// What a person sees.

async function open({ browser, proxy, channel }, options, more = "") {
  const query = `channel=${channel}&options=${encodeURIComponent(JSON.stringify(options))}${more}`;
  const tab = await browser.tab(`${proxy.origin}/numbers?${query}`);
  const textOf = (id) => tab.run((id) => document.getElementById(id).textContent, id);
  return {
    ...tab,
    textOf,
    state: () => textOf("state"),
    /** All that were told, each as `state transport: reason`. */
    states: () => tab.run(() => [...document.querySelectorAll("#states li")].map(({ textContent }) => textContent)),
    isConnected: (over, limitMs = 15_000) => until(async () => (await textOf("state")).startsWith(`connected over ${over}`), limitMs),
  };
}

async function connects(place, tab, over, limitMs) {
  check(await tab.isConnected(over, limitMs), `${place.name}: connected over ${over}`, (await tab.states()).join(" | "));
}

/** Publishes 1, 2, 3 ... until it is stopped, straight to the server, and returns how many. */
function count({ server, channel, token }, everyMs = 40) {
  let number = 0;
  let goesOn = true;
  const counted = (async () => {
    while (goesOn) {
      number += 1;
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const response = await fetch(`${server.origin}/channel/${channel}`, { method: "POST", body: String(number), headers });
      if (!response.ok) throw new Error(`a number was answered with ${response.status}`);
      await sleep(everyMs);
    }
    return number;
  })();
  counted.catch(() => {});
  return {
    stop: () => {
      goesOn = false;
      return counted;
    },
  };
}

/** The page has come to the end of the numbers, and has each once and in order. */
async function showsAll(place, tab, last, first = 1) {
  const expected = Array.from({ length: last - first + 1 }, (_, index) => ` ${first + index}`).join("");
  await until(async () => (await tab.textOf("numbers")).endsWith(` ${last}`), 15_000);
  // What comes twice may come late.
  await sleep(200);
  const seen = await tab.textOf("numbers");
  check(seen === expected, `${place.name}: the numbers ${first} to ${last}, each once and in order`, `${seen}; ${(await tab.states()).join(" | ")}`);
}

/** No other state than these, in their order. */
async function told(place, tab, ...expected) {
  const states = await tab.states();
  const fits = states.length === expected.length && states.every((state, at) => state.startsWith(expected[at]));
  check(fits, `${place.name}: told ${expected.join(", ")}`, states.join(" | "));
}

// The networks.

async function fourTransports(place) {
  const tabs = [];
  for (const transport of transports) {
    const tab = await open(place, { transport, interval: 1, wait: 5 });
    tabs.push(tab);
    await connects(place, tab, transport);
  }
  const counting = count(place);
  await sleep(1500);
  const last = await counting.stop();
  for (const tab of tabs) {
    await showsAll(place, tab, last);
    await tab.close();
  }
}

async function refusedSocket(place) {
  place.proxy.webSocket = "refuse";
  const counting = count(place);
  const tab = await open(place, { since: "earliest", patience: 0.7 });
  await connects(place, tab, "sse");
  const states = await tab.states();
  check(states.at(-2) === "connecting sse: the server answers, but no WebSocket gets through", `${place.name}: says why`, states.join(" | "));
  place.proxy.webSocket = "pass";
  // Twelve patiences and a quarter, and if the machine is too slow for it the first time, twice that.
  await connects(place, tab, "websocket", 60_000);
  const after = (await tab.states()).slice(states.length);
  checkEqual(after, ["connected websocket"], `${place.name}: the better transport takes over without a break`);
  await sleep(300);
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

async function swallowedSocket(place) {
  place.proxy.webSocket = "swallow";
  const counting = count(place);
  const tab = await open(place, { since: "earliest", patience: 1 });
  await connects(place, tab, "sse");
  await told(place, tab, "connecting websocket", "connecting sse: the server answers, but no WebSocket gets through", "connected sse");
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

async function heldStream(place) {
  Object.assign(place.proxy, { webSocket: "refuse", stream: "hold" });
  const counting = count(place);
  const tab = await open(place, { since: "earliest", patience: 0.7 });
  await connects(place, tab, "long-poll");
  const states = await tab.states();
  check(states.at(-2) === "connecting long-poll: the server answers, but no event stream gets through", `${place.name}: says why`, states.join(" | "));
  Object.assign(place.proxy, { webSocket: "pass", stream: "pass" });
  await connects(place, tab, "websocket", 60_000);
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

/** The first bytes pass, so that the stream begins. It is the silence that shows that it is held. */
async function stuckStream(place) {
  place.proxy.stream = 1000;
  const tab = await open(place, { since: "earliest", patience: 0.7, transports: ["sse", "poll"], interval: 1 });
  await connects(place, tab, "sse");
  const counting = count(place);
  await connects(place, tab, "poll", 20_000);
  check((await tab.states()).includes("connecting poll: the event stream was held back"), `${place.name}: says why`, (await tab.states()).join(" | "));
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

async function dyingSocket(place) {
  place.proxy.webSocket = 300;
  const counting = count(place);
  const tab = await open(place, { since: "earliest", patience: 1 });
  await connects(place, tab, "sse", 20_000);
  checkEqual(place.proxy.asked.websocket, 3, `${place.name}: given up the third time`);
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

async function outage(place) {
  const counting = count(place);
  const tab = await open(place, { since: "earliest", patience: 1 });
  await connects(place, tab, "websocket");
  await place.proxy.cut();
  check(await until(async () => (await tab.state()).startsWith("reconnecting")), `${place.name}: a lost connection is shown`, await tab.state());
  await sleep(1000);
  await place.proxy.mend();
  await connects(place, tab, "websocket");
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

async function restart(place) {
  const before = count(place);
  const tab = await open(place, { since: "earliest", patience: 1, share: false });
  await connects(place, tab, "websocket");
  const last = await before.stop();
  await showsAll(place, tab, last);
  await place.server.stop();
  place.server = await startServer(place.binary, place.server.port, ["--history", "1000"]);
  check(await until(async () => await tab.textOf("gaps") === "1", 20_000), `${place.name}: is told as a gap`, await tab.textOf("gaps"));
  // A server that is slow to come back may be taken for one without WebSockets at first.
  await connects(place, tab, "websocket", 40_000);
  const after = count(place);
  await sleep(300);
  const more = await after.stop();
  await until(async () => (await tab.textOf("numbers")).endsWith(` 1${Array.from({ length: more - 1 }, (_, at) => ` ${at + 2}`).join("")}`));
  const numbers = (await tab.textOf("numbers")).trim().split(" ").map(Number);
  checkEqual(numbers.length, last + more, `${place.name}: what came before and after it, once`);
  await tab.close();
}

async function presence(place) {
  const options = (name) => ({ presence: true, name, interval: 0.5 });
  const watchers = [];
  for (const transport of transports) {
    watchers.push(await open(place, { ...options("watcher"), transport }));
    await connects(place, watchers.at(-1), transport);
  }
  const ann = await open(place, { ...options("ann"), transport: "sse", share: false });
  for (const [at, watcher] of watchers.entries()) {
    check(await until(async () => (await watcher.textOf("people")).endsWith(" join ann")), `${place.name}: ${transports[at]} is told who comes`, await watcher.textOf("people"));
  }
  const names = await watchers[0].run(() => room.members().then((members) => members.map(({ name }) => name)));
  checkEqual(names, ["ann", "watcher"], `${place.name}: and who is here`);
  await ann.close();
  for (const [at, watcher] of watchers.entries()) {
    // When one of them has gone, the others may hear that the watcher is here over another transport now.
    check(await until(async () => (await watcher.textOf("people")).includes(" leave ann")), `${place.name}: ${transports[at]} is told who goes`, await watcher.textOf("people"));
    await watcher.close();
  }
}

// Several tabs.

async function twoTabs(place) {
  const { proxy, channel, server } = place;
  const counting = count(place);
  const first = await open(place, { since: "earliest", patience: 1 });
  await connects(place, first, "websocket");
  const second = await open(place, { since: "earliest", patience: 1 });
  await connects(place, second, "websocket, shared");
  const alone = await open(place, { since: "earliest", transport: "poll" });
  await connects(place, alone, "poll");
  const { channels } = await (await fetch(`${server.origin}/channels?prefix=${channel}`)).json();
  checkEqual([channels[0].subscribers.websocket, proxy.asked.websocket], [1, 1], `${place.name}: share one connection`);
  const published = await second.run(() => room.publish("0").then(({ id }) => Boolean(id)));
  checkEqual(published, true, `${place.name}: the one that shares publishes`);
  await first.close();
  check(await until(async () => await second.state() === "connected over websocket"), `${place.name}: the leader is closed, and the other leads`, await second.state());
  const third = await open(place, { since: "earliest", patience: 1 });
  await connects(place, third, "websocket, shared");
  await sleep(300);
  const last = await counting.stop();
  for (const tab of [second, third, alone]) {
    await until(async () => (await tab.textOf("numbers")).endsWith(` ${last}`));
    await sleep(200);
    const numbers = (await tab.textOf("numbers")).trim().split(" ").filter((number) => number !== "0");
    checkEqual(numbers, Array.from({ length: last }, (_, at) => String(at + 1)), `${place.name}: all the numbers`);
    await tab.close();
  }
}

/** Hidden by another tab in front; only Firefox hides one that is driven, so elsewhere the page is told so. */
async function hiddenTab(place) {
  const { browser, proxy } = place;
  const hide = (tab, hidden) => tab.run((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const isReal = browser.name === "Firefox";
  const counting = count(place);
  const options = { since: "earliest", patience: 1, hidden: 1, interval: 0.1 };
  const first = await open(place, options);
  await connects(place, first, "websocket");
  // Something else in front.
  const other = await browser.tab(`${proxy.origin}/healthz`);
  if (!isReal) await hide(first, true);
  check(await until(async () => await first.state() === "connected over poll, hidden"), `${place.name}: polls after a while`, await first.state());
  const second = await open(place, options);
  if (!isReal) await hide(second, false);
  check(await until(async () => await second.state() === "connected over websocket"), `${place.name}: another that is seen has the live connection`, await second.state());
  check(await until(async () => await first.state() === "connected over websocket, shared"), `${place.name}: and shares it with the hidden one`, await first.state());
  checkEqual(proxy.open.websocket, 1, `${place.name}: one connection`);
  await second.close();
  if (isReal) await other.front();
  check(await until(async () => await first.state() === "connected over poll, hidden"), `${place.name}: alone again, it polls again`, await first.state());
  if (isReal) await first.front();
  else await hide(first, false);
  check(await until(async () => await first.state() === "connected over websocket", 2000), `${place.name}: comes back at once when it is seen`, await first.state());
  await showsAll(place, first, await counting.stop());
  await other.close();
  await first.close();
}

async function crash(place) {
  const counting = count(place);
  const first = await open(place, { since: "earliest", patience: 1 });
  await connects(place, first, "websocket");
  const second = await open(place, { since: "earliest", patience: 1 });
  await connects(place, second, "websocket, shared");
  const session = await first.context.newCDPSession(first.page);
  session.send("Page.crash").catch(() => {});
  check(await until(async () => await second.state() === "connected over websocket"), `${place.name}: of the leader hands over`, await second.state());
  await sleep(300);
  await showsAll(place, second, await counting.stop());
  await second.close();
}

async function hangs(place) {
  const counting = count(place);
  const first = await open(place, { since: "earliest", patience: 1 });
  await connects(place, first, "websocket");
  const second = await open(place, { since: "earliest", patience: 1 });
  await connects(place, second, "websocket, shared");
  const hung = first.run(() => {
    const end = Date.now() + 10_000;
    while (Date.now() < end);
  });
  check(await until(async () => await second.state() === "connected over websocket", 9000), `${place.name}: loses the lead`, await second.state());
  await hung;
  await connects(place, first, "websocket, shared");
  const last = await counting.stop();
  for (const tab of [first, second]) await showsAll(place, tab, last);
}

async function withoutLocks(place, more) {
  const counting = count(place);
  const tabs = [];
  for (let at = 0; at < 2; at++) {
    tabs.push(await open(place, { since: "earliest", patience: 1 }, more));
    await connects(place, tabs[at], "websocket");
  }
  checkEqual([place.proxy.open.websocket, await tabs[1].state()], [2, "connected over websocket"], `${place.name}: each has a connection of its own`);
  const last = await counting.stop();
  for (const tab of tabs) {
    await showsAll(place, tab, last);
    await tab.close();
  }
}

// Tokens.

async function mint(binary, lifetime) {
  const options = ["token", "--secret", secret, "--sub", "ann", "--subscribe", "*", "--publish", "*", "--expires", lifetime];
  const { stdout } = await promisify(execFile)(binary, options);
  return stdout.trim();
}

async function tokens(place, transport) {
  place.token = await mint(place.binary, "10m");
  place.proxy.token = () => mint(place.binary, "6s");
  const counting = count(place);
  const tab = await open(place, { since: "earliest", transport, token: "/token", interval: 0.2, wait: 5 });
  await connects(place, tab, transport);
  await sleep(11_000);
  check(Number(await tab.textOf("tokens")) >= 2, `${place.name}: asked again before they expire`, await tab.textOf("tokens"));
  checkEqual((await tab.states()).map((state) => state.split(" ")[0]), ["connecting", "connected"], `${place.name}: and nobody sees that`);
  checkEqual(await tab.run(() => room.publish("end").then(() => "published")), "published", `${place.name}: publishes`);
  const last = await counting.stop();
  await until(async () => (await tab.textOf("numbers")).includes(` ${last}`));
  const numbers = (await tab.textOf("numbers")).replace(" end", "").trim().split(" ").map(Number);
  checkEqual(numbers, Array.from({ length: last }, (_, at) => at + 1), `${place.name}: all the numbers`);
  await tab.close();
}

/** The page's server has none for a while, and the old one expires. */
async function lateToken(place) {
  place.token = await mint(place.binary, "10m");
  place.proxy.token = () => mint(place.binary, "2s");
  const counting = count(place);
  const tab = await open(place, { since: "earliest", patience: 1, token: "/token" });
  await connects(place, tab, "websocket");
  place.proxy.token = undefined;
  const reason = ": there is no token: nobody gives one out";
  check(await until(async () => (await tab.states()).at(-1).endsWith(reason)), `${place.name}: says what is missing`, (await tab.states()).join(" | "));
  place.proxy.token = () => mint(place.binary, "10m");
  await connects(place, tab, "websocket");
  await showsAll(place, tab, await counting.stop());
  await tab.close();
}

// Without a browser.

/** Node 20 has neither WebSocket nor EventSource nor tabs; Deno has a WebSocket. */
async function inRuntime({ name, command, transport, next }, binary, cleanup) {
  const server = await startServer(binary, 0, ["--secret", secret]);
  cleanup(() => server.stop());
  const proxy = await startProxy(() => server.port);
  proxy.token = () => mint(binary, "6s");
  const folder = await mkdtemp(join(tmpdir(), "redpoll-"));
  cleanup(() => rm(folder, { recursive: true }));
  const module = join(folder, "redpoll.mjs");
  await writeFile(module, await (await fetch(`${server.origin}/redpoll.js`)).text());

  const [program, ...options] = command;
  const script = fileURLToPath(new URL("runtime.mjs", import.meta.url));
  const child = spawn(program, [...options, script, module, proxy.origin], { stdio: ["pipe", "pipe", "inherit"] });
  cleanup(() => child.kill());
  const states = [];
  const messages = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { state, data } = JSON.parse(line);
    if (state) states.push(state);
    else messages.push(data);
  });
  const counting = count({ server, channel: "numbers", token: await mint(binary, "10m") });
  const isConnected = (over) => until(() => states.at(-1)?.startsWith(`connected ${over}`), 20_000);

  await isConnected(transport);
  checkEqual(states, [`connecting ${transport}: `, `connected ${transport}: `], `${name}: the first transport that there is`);
  await sleep(8000);
  checkEqual(states.length, 2, `${name}: tokens are renewed without a break`);
  await proxy.cut();
  check(await until(() => states.at(-1).startsWith("reconnecting")), `${name}: a lost connection is noticed`, states.join(" | "));
  Object.assign(proxy, { webSocket: "refuse", stream: transport === "sse" ? "refuse" : "pass" });
  await proxy.mend();
  check(await isConnected(next), `${name}: falls back`, states.join(" | "));
  child.stdin.write("end\n");
  const last = String(await counting.stop());
  check(await until(() => messages.includes(last) && messages.includes("end")), `${name}: hears the last one, and what it has published`);
  const expected = Array.from({ length: Number(last) }, (_, at) => String(at + 1));
  checkEqual(messages.filter((message) => message !== "end"), expected, `${name}: the numbers, each once and in order`);
  child.stdin.end();
  check(await until(() => child.exitCode !== null), `${name}: nothing keeps the process once the subscription is closed`);
  checkEqual(child.exitCode, 0, `${name}: and it ends well`);
}
