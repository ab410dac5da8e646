/** What the tests with browsers and other clients stand on: a server, a line that can be cut, a browser, and checks that are counted. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import net from "node:net";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const startMs = 10_000;

let passed = 0;
let failed = 0;

/** One check, one line. Returns whether it held. */
export function check(holds, what, detail = "") {
  if (holds) passed += 1;
  else failed += 1;
  console.log(`${holds ? "ok" : "FAILED"} ${what}${holds || detail === "" ? "" : `: ${detail}`}`);
  return holds;
}

/** Like `check`, for two values that JSON can show. */
export function checkEqual(actual, expected, what) {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  return check(a === b, what, `expected ${b}, got ${a}`);
}

/** Runs the test to its last line, whatever happens, and ends the process with its result. */
export async function run(test) {
  const binary = process.argv[2];
  if (!binary) {
    console.error(`usage: node ${process.argv[1]} PATH_TO_REDPOLL`);
    process.exit(2);
  }
  const cleanups = [];
  try {
    await test(binary, (cleanup) => cleanups.unshift(cleanup));
  } catch (error) {
    check(false, "the test ran to its end", error.stack);
  }
  for (const cleanup of cleanups) await Promise.race([cleanup(), sleep(5000)]).catch(() => {});
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `probe` returns something true, and returns that; or the last it returned when time is up. */
export async function until(probe, limitMs = 10_000) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value || Date.now() > deadline) return value;
    await sleep(50);
  }
}

/** A running server. `port` 0 lets it pick one. `options` are more of its flags. */
export async function startServer(binary, port = 0, options = []) {
  const child = spawn(binary, ["serve", "--listen", `127.0.0.1:${port}`, "--log", "warn", ...options], { stdio: ["ignore", "pipe", "pipe"] });
  const lines = [];
  const bound = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no address within ${startMs} ms; it said: ${lines.join("\n")}`)), startMs).unref();
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`exit status ${code}; it said: ${lines.join("\n")}`)));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        const address = /http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
        if (address) resolve(Number(address[1]));
      });
    }
  });
  bound.catch(() => {});
  const server = { port: await bound, lines };
  server.origin = `http://127.0.0.1:${server.port}`;
  /** Ends it as an operator would, and returns its exit status. */
  server.stop = async (signal = "SIGTERM") => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await once(child, "exit");
    clearTimeout(timer);
    return child.exitCode;
  };
  return server;
}

/** A TCP proxy that passes bytes on, and can break every connection and refuse new ones, or fall silent. */
export async function startLine(portOf) {
  const sockets = new Set();
  let isSilent = false;
  const listener = net.createServer((client) => {
    const server = net.connect(portOf(), "127.0.0.1");
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        if (!isSilent) to.destroy();
      });
      if (!isSilent) from.pipe(to);
    }
  });
  const listen = (port) => new Promise((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(port, "127.0.0.1", resolve);
  });
  await listen(0);
  const { port } = listener.address();
  const cut = () => {
    const closed = new Promise((resolve) => listener.close(resolve));
    for (const socket of sockets) socket.destroy();
    return closed;
  };
  /** Connections stay open, new ones too, and nothing passes any more. */
  const silence = () => {
    isSilent = true;
    for (const socket of sockets) {
      socket.unpipe();
      socket.pause();
    }
  };
  /** What was cut or silenced stays so; new connections work. */
  const mend = async () => {
    isSilent = false;
    if (!listener.listening) await listen(port);
  };
  return { origin: `http://127.0.0.1:${port}`, cut, silence, mend, stop: () => (listener.listening ? cut() : undefined) };
}

export async function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/**
 * A window of its own, with its own storage and connections. `faults` collects what no visitor should cause: exceptions,
 * dialogs, violations of the content security policy, and everything on the console except connections that failed.
 */
export async function openWindow(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(`exception: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (line) => {
    if (!["error", "warning"].includes(line.type())) return;
    if (/net::ERR_|WebSocket connection to/.test(line.text())) return;
    faults.push(`console: ${line.text()}`);
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  return { page, context, faults };
}

/** The page wide and narrow, light and dark. Nothing may stick out at its side; where SCREENSHOTS names a folder, pictures. */
export async function shoot(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (folder) await mkdir(folder, { recursive: true });
  for (const [width, height, size] of [[1280, 800, "wide"], [360, 740, "narrow"], [320, 568, "small"]]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await sleep(150);
      if (folder) await page.screenshot({ path: `${folder}/${name}-${size}-${colorScheme}.png` });
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wider > 0) check(false, `${name}: nothing sticks out at ${width} pixels`, `${wider} pixels`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: "light" });
}
