/**
 * The long-polling tutorial's page, unchanged, against Redpoll; and Redpoll's own page in its place, `/home/`.
 *
 *     node tests/browser/tutorial.mjs target/release/redpoll
 *
 * The tutorial's page asks in a loop without an error handler: one answer that is not 200 and JSON ends its chat for good.
 */
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import http from "node:http";
import { check, checkEqual, openWindow, run, sleep, startBrowser, startServer, until } from "./harness.mjs";

/** What an idle poll waits for. */
const waitMs = 10_000;

await run(async (binary, cleanup) => {
  let server = await startServer(binary);
  cleanup(() => server.stop());
  const site = await startSite(() => server);
  cleanup(() => site.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());

  const ann = await openVisitor(browser, site, "ann");
  const bob = await openVisitor(browser, site, "小明");
  await twoTalk(ann, bob, site);
  await reloadBetweenMessages(ann, bob, site);
  await Promise.all([idle(site), unknownNames(server)]);
  await noName(server);
  await twoTalkAgain(ann, bob, "after an idle wait");
  await secondPoll(server);

  server = await restartUnderThePage(server, binary, ann, bob, site);
  for (const { name, faults } of [ann, bob]) checkEqual(faults, [], `the tutorial's page, ${name}: no exception or dialog`);
  await ann.page.close();
  await bob.page.close();

  server = await ownPage(browser, server, binary);
});

// The tutorial's site.

/** Serves the tutorial's page at `/?name=N`, and passes its three URLs on to Redpoll byte for byte. */
async function startSite(server) {
  const page = await readFile(new URL("tutorial.html", import.meta.url), "utf8");
  const jquery = await readFile(new URL("node_modules/jquery/dist/jquery.min.js", import.meta.url));
  const site = { answers: [], parked: [], jqueryMs: 0 };

  const listener = http.createServer(async (request, response) => {
    const url = new URL(request.url, "http://site");
    const name = url.searchParams.get("name");
    if (url.pathname === "/") {
      // Where the tutorial's own server would render the page, which gives the name its place.
      await fetch(`${server().origin}/home/?name=${encodeURIComponent(name)}`);
      response.setHeader("Content-Type", "text/html; charset=utf-8");
      response.end(`<script src="/jquery.js"></script>${page.replaceAll("{{ name }}", name)}`);
    } else if (url.pathname === "/jquery.js") {
      await sleep(site.jqueryMs);
      response.setHeader("Content-Type", "text/javascript");
      response.end(jquery);
    } else if (["/home/", "/send_msg/", "/get_msg/"].includes(url.pathname)) {
      await pass(request, response, url, name);
    } else {
      response.writeHead(204).end();
    }
  });

  async function pass(request, response, url, name) {
    const content = Buffer.concat(await request.toArray());
    const isPoll = url.pathname === "/get_msg/";
    const beganMs = Date.now();
    if (isPoll) site.parked.push(name);
    let over = false;
    const unpark = () => {
      if (isPoll && !over) site.parked.splice(site.parked.indexOf(name), 1);
      over = true;
    };
    response.on("close", unpark);
    // While the server restarts there is nobody to ask; whoever stands in front waits for it.
    for (const deadline = Date.now() + 15_000; !over; await sleep(100)) {
      try {
        const answer = await ask(request, response, content);
        unpark();
        if (isPoll) site.answers.push({ name, tookMs: Date.now() - beganMs, ...answer });
        return;
      } catch (error) {
        if (Date.now() < deadline && request.method === "GET") continue;
        response.writeHead(502).end(error.message);
        return;
      }
    }
  }

  async function ask(request, response, content) {
    const { origin, ...headers } = request.headers;
    const { port } = server();
    const asked = http.request({ port, host: "127.0.0.1", method: request.method, path: request.url, headers: { ...headers, host: `127.0.0.1:${port}` }, agent: false });
    response.on("close", () => asked.destroy());
    asked.end(content);
    const [answer] = await once(asked, "response");
    const text = Buffer.concat(await answer.toArray());
    response.writeHead(answer.statusCode, answer.headers);
    response.end(text);
    return { status: answer.statusCode, type: answer.headers["content-type"], text: text.toString() };
  }

  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  site.origin = `http://127.0.0.1:${listener.address().port}`;
  site.stop = () => {
    listener.closeAllConnections();
    listener.close();
  };
  return site;
}

async function openVisitor(browser, site, name) {
  const visitor = { name, site, ...await openWindow(browser) };
  await visitor.page.goto(`${site.origin}/?name=${encodeURIComponent(name)}`);
  await until(() => site.parked.includes(name));
  return visitor;
}

// What people do and see.

async function say({ page }, text) {
  await page.locator("#txt").fill(text);
  await page.getByRole("button", { name: "提交" }).click();
}

function record(page) {
  return page.locator(".record p").allTextContents();
}

/** Waits for these texts, and a moment longer for what should not come. */
async function recordBecomes(page, texts, what, limitMs) {
  await until(async () => (await record(page)).length >= texts.length, limitMs);
  await sleep(200);
  checkEqual(await record(page), texts, what);
}

async function twoTalk(ann, bob) {
  checkEqual(await ann.page.locator("h1").first().textContent(), "聊天室:ann", "the tutorial's page has its heading");
  const texts = [];
  for (const [who, text] of [[ann, "hello"], [bob, "你好，ann"], [ann, "<b>bold</b> & <script>alert(1)</script>"], [bob, "a + b = 100%"]]) {
    texts.push(text);
    await say(who, text);
    await recordBecomes(ann.page, texts, `ann sees ${texts.length} in order`);
  }
  for (let count = 1; count <= 5; count++) {
    texts.push(`quick ${count}`);
    const sent = ann.page.waitForResponse("**/send_msg/");
    await say(ann, `quick ${count}`);
    const response = await sent;
    if (count === 1) {
      checkEqual([response.status(), await response.text()], [200, "OK"], "a message is answered with OK");
    }
  }
  await recordBecomes(ann.page, texts, "ann sees a quick series in order");
  await recordBecomes(bob.page, texts, "小明 sees the same");
}

async function twoTalkAgain(ann, bob, when) {
  await sleep(500);
  const before = [await record(ann.page), await record(bob.page)];
  await say(bob, `bob ${when}`);
  await until(async () => (await record(ann.page)).length > before[0].length);
  await say(ann, `ann ${when}`);
  const added = [`bob ${when}`, `ann ${when}`];
  await recordBecomes(ann.page, [...before[0], ...added], `ann sees both ${when}`);
  await recordBecomes(bob.page, [...before[1], ...added], `小明 sees both ${when}`);
}

async function reloadBetweenMessages(ann, bob, site) {
  const { page } = ann;
  // Away altogether, then back: the place was kept.
  await page.goto("about:blank");
  await until(() => !site.parked.includes("ann"));
  await say(bob, "while ann is away, 1");
  await until(async () => (await record(bob.page)).includes("while ann is away, 1"));
  await say(bob, "while ann is away, 2");
  await until(async () => (await record(bob.page)).includes("while ann is away, 2"));
  await page.goto(`${site.origin}/?name=ann`);
  await recordBecomes(page, ["while ann is away, 1", "while ann is away, 2"], "what was sent while ann was away comes when she is back");

  // A reload whose page comes slowly: the message falls between the old page's last question and the new page's first.
  site.jqueryMs = 800;
  for (let count = 1; count <= 3; count++) {
    await until(() => site.parked.includes("ann"));
    const reloaded = page.reload();
    await until(() => !site.parked.includes("ann"));
    await say(bob, `during reload ${count}`);
    await reloaded;
    await recordBecomes(page, [`during reload ${count}`], `reload ${count} in the middle of a poll costs no message`);
  }
  site.jqueryMs = 0;
}

async function idle(site) {
  const before = site.answers.length;
  const empty = () => site.answers.slice(before).find(({ text }) => text.includes("false"));
  const answer = await until(empty, waitMs + 5000);
  check(answer, "an idle poll is answered");
  if (!answer) return;
  checkEqual([answer.status, JSON.parse(answer.text)], [200, { status: false, msg: "" }], "with status false");
  check(answer.tookMs > waitMs - 500 && answer.tookMs < waitMs + 2000, "after ten seconds", `${answer.tookMs} ms`);
  check(await until(() => site.parked.includes(answer.name)), "and the page asks again");
  check(site.answers.every(({ status, type }) => status === 200 && /json/.test(type)), "every answer so far was 200 and JSON");
}

async function unknownNames(server) {
  const ask = async (query) => {
    const beganMs = Date.now();
    const response = await fetch(`${server.origin}/get_msg/${query}`);
    const answer = [response.status, /^application\/json/.test(response.headers.get("Content-Type")), await response.json()];
    return { answer, tookMs: Date.now() - beganMs };
  };
  const queries = { "an unknown name": "?name=nobody-knows", "an empty name": "?name=" };
  await Promise.all(Object.entries(queries).map(async ([what, query]) => {
    const { answer, tookMs } = await ask(query);
    checkEqual(answer, [200, true, { status: false, msg: "" }], `${what} waits like the others`);
    check(tookMs > waitMs - 500, `${what} waits for ten seconds`, `${tookMs} ms`);
  }));
}

/** Joins with its question, and so gets what is sent while it waits. */
async function noName(server) {
  const answer = fetch(`${server.origin}/get_msg/`).then(async (response) => [response.status, await response.json()]);
  await sleep(500);
  await fetch(`${server.origin}/send_msg/`, { method: "POST", body: new URLSearchParams({ content: "to no name too" }) });
  checkEqual(await answer, [200, { status: true, msg: "to no name too" }], "no name at all joins like the others");
}

async function secondPoll(server) {
  const poll = () => fetch(`${server.origin}/get_msg/?name=twice`).then((response) => response.json());
  const beganMs = Date.now();
  const first = poll();
  await sleep(300);
  const second = poll();
  checkEqual(await first, { status: false, msg: "" }, "a second poll of one name ends the first");
  check(Date.now() - beganMs < 3000, "at once");
  await fetch(`${server.origin}/send_msg/`, { method: "POST", body: new URLSearchParams({ content: "to the second" }) });
  checkEqual(await second, { status: true, msg: "to the second" }, "and the second gets the message");
}

async function restartUnderThePage(server, binary, ann, bob, site) {
  await until(() => site.parked.includes("ann") && site.parked.includes("小明"));
  checkEqual(await server.stop(), 0, "the server ends with 0 while two are polling");
  const next = await startServer(binary, server.port);
  // Nobody has called /home/ on the new server: the page's own question is what makes it join.
  await until(() => site.parked.includes("ann") && site.parked.includes("小明"));
  await sleep(1000);
  check(site.answers.every(({ status, type }) => status === 200 && /json/.test(type)), "every answer around the restart was 200 and JSON");
  await twoTalkAgain(ann, bob, "after a restart");
  return next;
}

// Redpoll's own page.

async function ownPage(browser, server, binary) {
  const open = async (name) => {
    const visitor = { name, ...await openWindow(browser) };
    await visitor.page.goto(`${server.origin}/home/?name=${encodeURIComponent(name)}`);
    return visitor;
  };
  const lin = await open("小林");
  const tom = await open("Tom & Co");
  checkEqual(await lin.page.locator("h1").first().textContent(), "聊天室:小林", "/home/ has the tutorial's heading");
  const texts = ["大家好", "<img src=x onerror=alert(1)>", "a+b=100% & more"];
  for (const [index, who] of [lin, tom, lin].entries()) {
    await say(who, texts[index]);
    await recordBecomes(tom.page, texts.slice(0, index + 1), `/home/: ${index + 1} in order`);
  }
  await recordBecomes(lin.page, texts, "/home/: both see the same");
  checkEqual(await lin.page.locator("#txt").inputValue(), "", "/home/: the field is empty after sending");
  await shoot(lin.page);

  await lin.page.goto("about:blank");
  await sleep(300);
  await say(tom, "lin is away");
  await recordBecomes(tom.page, [...texts, "lin is away"], "/home/: one goes on alone");
  await lin.page.goto(`${server.origin}/home/?name=${encodeURIComponent("小林")}`);
  await recordBecomes(lin.page, ["lin is away"], "/home/: a place is kept");

  const double = await open("小林");
  const questions = [];
  double.page.on("request", (request) => { if (request.url().includes("/get_msg/")) questions.push(request); });
  await sleep(4000);
  check(questions.length <= 4, "/home/: two windows of one name do not chase each other", `${questions.length} questions in 4 s`);
  await double.page.close();

  await server.stop("SIGKILL");
  check(await until(() => tom.page.locator("#note", { hasText: "重试" }).count()), "/home/: a lost server is shown");
  await sleep(1500);
  const next = await startServer(binary, server.port);
  check(await until(async () => await tom.page.locator("#note").textContent() === "", 30_000), "/home/: and found again");
  await until(async () => await lin.page.locator("#note").textContent() === "", 30_000);
  await say(tom, "after the crash");
  await recordBecomes(lin.page, ["lin is away", "after the crash"], "/home/: the chat goes on after a crash");

  await tom.page.goto(`${next.origin}/home/`);
  await tom.page.getByLabel("名字").fill("新来的");
  await tom.page.getByRole("button", { name: "进入" }).click();
  await tom.page.waitForURL("**/home/?name=*");
  checkEqual(await tom.page.locator("h1").first().textContent(), "聊天室:新来的", "/home/ without a name asks for one");
  for (const { name, faults } of [lin, tom, double]) checkEqual(faults, [], `/home/, ${name}: no exception, dialog or policy violation`);
  return next;
}

async function shoot(page) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  for (const [width, height, size] of [[1280, 800, "wide"], [360, 740, "narrow"]]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${folder}/home-${size}-${colorScheme}.png` });
    }
  }
}
