/**
 * What axe-core finds on every page: light and dark, on a desktop and a phone, in English and Chinese. And what it does
 * not see: colours that the system picks, and pages that are enlarged.
 *
 *     node tests/browser/accessible.mjs target/release/redpoll
 *
 * Serious and critical faults fail; lesser ones are only told.
 */
import { readFile } from "node:fs/promises";
import { check, checkEqual, openWindow, run, startBrowser, startServer, until } from "./harness.mjs";
import { startProxy } from "./proxy.mjs";

const axe = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const languages = ["en-GB", "zh-CN"];
const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };
const themes = ["light", "dark"];

/**
 * How each page is brought to what is to be looked at, one after the other in one window. Elements are found by what is the
 * same in all languages.
 */
const pages = {
  "/": async ({ page, server }) => {
    await page.goto(`${server.origin}/`);
    await isConnected(page);
    await page.locator("#empty").waitFor();
  },
  "/?room=tea": async ({ page, server }) => {
    await enter(page, `${server.origin}/?room=tea`, "Ann");
    await say(page, "Is there any tea left?");
    await page.locator("#messages .own").first().waitFor();
  },
  "/?room=tea, renaming": ({ page }) => page.locator("#rename").click(),
  "/?room=tea, in an outage": async ({ page, server }) => {
    const proxy = await startProxy(() => server.port);
    await enter(page, `${proxy.origin}/?room=tea`, "Ann");
    await proxy.cut();
    await page.locator("body[data-state=reconnecting]").waitFor();
    await say(page, "Hello?");
    await page.locator("#pending .message").waitFor();
  },
  "/?room=a b, refused": async ({ page, server }) => {
    await page.goto(`${server.origin}/?room=a%20b`);
    await page.locator("#refusal").waitFor();
  },
  "/lab": async ({ page, server }) => {
    await page.goto(`${server.origin}/lab`);
    await page.locator("#frame-in .payload button").first().waitFor();
    await until(async () => (await page.locator("[data-value=messages]").allTextContents()).every((count) => parseInt(count) > 0));
  },
  "/status": async ({ page, server }) => {
    await fetch(`${server.origin}/nowhere`);
    await page.goto(`${server.origin}/status`);
    await page.locator("#reasons tbody tr").first().waitFor();
    await page.locator("[data-channel=tea]").click();
    await page.locator("#tail-messages .event").waitFor();
  },
  "/home/": ({ page, server }) => page.goto(`${server.origin}/home/`),
  "/home/?name=": async ({ page, server, locale }) => {
    // Two windows of one name would take each other's messages.
    await page.goto(`${server.origin}/home/?name=Ann-${locale}`);
    await page.locator("#txt").fill("大家好");
    await page.locator("#txt").press("Enter");
    await page.locator(".record p").first().waitFor();
  },
};

/** The same in a window beside that one, since the check takes its time. */
const slowPages = {
  "/lab, behind a proxy without WebSockets": async ({ page, server, cleanup }) => {
    const proxy = await startProxy(() => server.port);
    cleanup(proxy.cut);
    proxy.webSocket = "refuse";
    await page.goto(`${proxy.origin}/lab`);
    await page.locator("#check").click();
    await page.locator("#check:enabled").waitFor();
  },
};

await run(async (binary, cleanup) => {
  const server = await startServer(binary);
  cleanup(() => server.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());

  await thereIsCompany(browser, server);
  await whatIsWrongIsFound(browser, server);
  await coloursOfTheSystem(browser, server);
  await enlarged(browser, server);
  await Promise.all(languages.flatMap((locale) => [slowPages, pages].map(async (pages) => {
    const { page } = await openWindow(browser, { locale, reducedMotion: "reduce" });
    for (const [name, bring] of Object.entries(pages)) {
      await bring({ page, server, cleanup, locale });
      await lookAt(page, `${name}, ${locale}`);
    }
  })));
});

async function enter(page, address, name) {
  await page.goto(address);
  await page.locator("#name").fill(name);
  await page.locator("#enter").click();
  await isConnected(page);
}

async function isConnected(page) {
  await page.locator("body[data-state=connected]").waitFor();
}

async function say(page, text) {
  await page.locator("#text").fill(text);
  await page.locator("#text").press("Enter");
}

/** Somebody else in the room, and a program. */
async function thereIsCompany(browser, server) {
  const { page } = await openWindow(browser);
  await enter(page, `${server.origin}/?room=tea`, "Bo");
  await say(page, "There is. See https://example.com/tea");
  await fetch(`${server.origin}/channel/tea?event=kettle`, { method: "POST", body: "boils" });
  await page.locator("#messages .message").nth(1).waitFor();
}

/** That nothing is found on a page is to mean something. */
async function whatIsWrongIsFound(browser, server) {
  const { page, context } = await openWindow(browser);
  await page.goto(`${server.origin}/home/`);
  await page.evaluate(() => {
    document.querySelector("h1").style.color = "rgb(220 210 200)";
    document.querySelector("input").removeAttribute("aria-label");
    document.querySelector("input").removeAttribute("placeholder");
  });
  const found = await faultsOf(page);
  checkEqual(found.filter(isGrave).map(({ rule }) => rule).sort(), ["color-contrast", "label"], "a pale heading and a field without a label are found");
  await context.close();
}

/** As with the contrast themes of Windows: no background is left to say something. */
async function coloursOfTheSystem(browser, server) {
  const { page, context } = await openWindow(browser, { forcedColors: "active" });
  const looks = (selector, property, part) => page.locator(selector).filter({ visible: true }).evaluateAll(
    (elements, [property, part]) => elements.map((element) => getComputedStyle(element, part)[property]), [property, part],
  );
  await enter(page, `${server.origin}/?room=tea`, "Cy");
  const [chosen, ...others] = await looks("#transports label", "borderTopColor");
  check(others.length === 3 && !others.includes(chosen), "colours of the system: the transport that is chosen has an edge", [chosen, ...others]);
  const edges = await looks("button", "borderTopStyle");
  check(edges.length > 1 && edges.every((style) => style === "solid"), "colours of the system: so has each button", edges);
  await page.goto(`${server.origin}/status`);
  const colours = await looks("[data-chart=memory] dt", "backgroundColor", "::before");
  check(new Set(colours).size === 5, "colours of the system: a chart says which line is which", colours);
  await context.close();
}

/** A desktop's 1280 by 1024 pixels at 400 % (WCAG 2.2, 1.4.10). */
async function enlarged(browser, server) {
  const { page, context } = await openWindow(browser, { viewport: { width: 320, height: 256 } });
  await enter(page, `${server.origin}/?room=tea`, "Di");
  const [log, message] = await page.evaluate(() => ["#log", "#messages .text"].map((selector) => document.querySelector(selector).offsetHeight));
  check(log > message, "enlarged: a message can be read whole", `${log} pixels, one takes ${message}`);
  await context.close();
}

async function lookAt(page, name) {
  for (const [size, viewport] of Object.entries(sizes)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of themes) {
      await page.emulateMedia({ colorScheme });
      await page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => {}))));
      const found = await faultsOf(page);
      const graves = found.filter(isGrave);
      for (const fault of found.filter((fault) => !isGrave(fault))) console.log(`(${name}, ${size}, ${colorScheme}: ${told(fault)})`);
      check(graves.length === 0, `${name}, ${size}, ${colorScheme}: no serious fault`, graves.map((fault) => `\n  ${told(fault)}`).join(""));
    }
  }
}

/** All rules that axe has on by default, but for those that are only its opinion; one entry for each element. */
async function faultsOf(page) {
  if (!await page.evaluate("window.axe")) await page.evaluate(axe);
  return page.evaluate(async () => {
    const rules = Object.fromEntries(axe.getRules(["best-practice"]).map(({ ruleId }) => [ruleId, { enabled: false }]));
    const { violations } = await axe.run({ rules, resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ impact, target, any, all, none }) => (
      { rule: id, impact, target: target.join(" "), why: [...any, ...all, ...none].map(({ message }) => message).join("; ") }
    )));
  });
}

function isGrave({ impact }) {
  return ["serious", "critical"].includes(impact);
}

function told({ rule, impact, target, why }) {
  return `${impact} ${rule} at ${target}: ${why}`;
}
