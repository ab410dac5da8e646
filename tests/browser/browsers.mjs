/**
 * Three browsers with one face: `tab(url)` opens a page beside the others, with their storage; a page has
 * `run(function, ...values)`, which calls the function in the page, `front()` where a tab can hide another, and `close()`.
 *
 * Chromium by its own protocol, Firefox by WebDriver BiDi, WebKit by WebDriver, each as Debian has it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { sleep, startBrowser, until } from "./harness.mjs";

export async function startChromium() {
  const browser = await startBrowser();
  const context = await browser.newContext();
  const tab = async (url) => {
    const page = await context.newPage();
    await page.goto(url);
    const run = (call, ...values) => page.evaluate(`(${call})(...${JSON.stringify(values)})`);
    return { page, context, run, close: () => page.close() };
  };
  return { name: "Chromium", tab, close: () => browser.close() };
}

export async function startFirefox(extraPrefsFirefox) {
  const { default: puppeteer } = await import("puppeteer-core");
  const browser = await puppeteer.launch({
    browser: "firefox", executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr", headless: true, extraPrefsFirefox,
  });
  const tab = async (url) => {
    const page = await browser.newPage();
    await page.goto(url);
    const run = (call, ...values) => page.evaluate(`(${call})(...${JSON.stringify(values)})`);
    return { run, front: () => page.bringToFront(), close: () => page.close() };
  };
  return { name: "Firefox", tab, close: () => browser.close() };
}

/** WebDriver (https://www.w3.org/TR/webdriver2/) without a client: each command is a request. */
export async function startWebKit() {
  const display = `:${90 + process.pid % 900}`;
  const screen = spawn("Xvfb", [display, "-screen", "0", "1280x800x24"], { stdio: "ignore" });
  const port = 20_000 + process.pid % 10_000;
  const driver = spawn("WebKitWebDriver", [`--port=${port}`], { stdio: "ignore", env: { ...process.env, DISPLAY: display, LIBGL_ALWAYS_SOFTWARE: "1", WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1" } });
  const command = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${path}: ${value.error}: ${value.message}`);
    return value;
  };
  await until(() => command("GET", "/status").catch(() => false));
  const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": { args: ["--automation"] } } };
  const { sessionId } = await command("POST", "/session", { capabilities });
  const session = `/session/${sessionId}`;
  await command("POST", `${session}/timeouts`, { script: 60_000 });
  // Commands go to one window at a time, and that of the beginning stays for those to no other.
  const home = await command("GET", `${session}/window`);
  let last = Promise.resolve();
  const inWindow = (handle, work) => {
    last = last.catch(() => {}).then(() => command("POST", `${session}/window`, { handle })).then(work);
    return last;
  };
  const tab = async (url) => {
    const { handle } = await inWindow(home, () => command("POST", `${session}/window/new`, { type: "tab" }));
    await inWindow(handle, () => command("POST", `${session}/url`, { url }));
    const run = (call, ...args) => inWindow(handle, () => {
      const script = `const done = arguments[arguments.length - 1]; Promise.resolve((${call})(...[...arguments].slice(0, -1))).then(done)`;
      return command("POST", `${session}/execute/async`, { script, args });
    });
    return { run, close: () => inWindow(handle, () => command("DELETE", `${session}/window`)) };
  };
  const close = async () => {
    await command("DELETE", session).catch(() => {});
    for (const child of [driver, screen]) {
      child.kill();
      await Promise.race([once(child, "exit"), sleep(2000)]);
    }
  };
  return { name: "WebKit", tab, close };
}
