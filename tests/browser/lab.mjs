/**
 * The lab at `/lab`: four transports side by side, the handshake, frames byte by byte, and the check of proxies.
 *
 *     node tests/browser/lab.mjs target/release/redpoll
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import http from "node:http";
import net from "node:net";
import { startFirefox, startWebKit } from "./browsers.mjs";
import { check, checkEqual, openWindow, run, shoot, sleep, startBrowser, startServer, until } from "./harness.mjs";

const transports = ["websocket", "sse", "long-poll", "poll"];
const secret = "0123456789abcdef0123456789abcdef";

await run(async (binary, cleanup) => {
  const server = await startServer(binary, 0, ["--max-message", "128K"]);
  cleanup(() => server.stop());
  const browser = await startBrowser();
  cleanup(() => browser.close());
  const window = await openWindow(browser);
  await window.page.goto(`${server.origin}/lab`);

  await everyColumnGetsEverything(window, server);
  await figuresArePlausible(window);
  await controlsWork(window);
  await theHandshake(window);
  await framesAreTakenApart(window);
  await shoot(window.page, "lab");
  await theCheckOfProxies(browser, server, cleanup);
  await inChinese(browser, server);
  await withTokens(browser, binary, cleanup);
  await inOtherBrowsers(server, cleanup);
  checkEqual(window.faults, [], "no exception, dialog, warning or policy violation");
});

/** A figure of a column, as it is shown. */
function figure(page, transport, name) {
  return page.locator(`[data-transport=${transport}] [data-value=${name}]`).innerText();
}

async function numbers(page, name) {
  return Promise.all(transports.map(async (transport) => parseFloat((await figure(page, transport, name)).replace(/,/g, ""))));
}

/** Bytes, as `size` writes them. */
function bytesOf(text) {
  return parseFloat(text) * ({ kB: 1e3, MB: 1e6 }[text.split(" ")[1]] ?? 1);
}

async function everyColumnGetsEverything({ page }, server) {
  await page.getByLabel("Messages a second").selectOption("10");
  await page.getByLabel("Short poll every").selectOption("1");
  check(await until(async () => (await numbers(page, "messages")).every((count) => count >= 20)), "messages come over all four", await numbers(page, "messages"));
  await page.getByRole("button", { name: "Pause" }).click();
  const { channels } = await (await fetch(`${server.origin}/channels?prefix=lab-`)).json();
  const newest = async () => Number((await (await fetch(`${server.origin}/channel/${channels[0].channel}?since=latest`)).json()).cursor.split("-")[1]);
  await sleep(2_500);
  const published = await newest();
  const shown = await numbers(page, "messages");
  check(published > 20 && shown.every((count) => count === published), "each column has all of them", `${shown} of ${published}`);
  for (const transport of transports) check(!/missing/.test(await figure(page, transport, "messages")), `${transport}: none is missing`);
  await page.getByRole("button", { name: "Go on" }).click();
}

async function figuresArePlausible({ page }) {
  await page.getByLabel("Messages a second").selectOption("5");
  const before = await numbers(page, "messages");
  await until(async () => (await numbers(page, "messages")).every((count, index) => count >= before[index] + 25), 30_000);
  await sleep(1_500);
  const [websocket, sse, longPoll, poll] = await numbers(page, "overhead");
  check(websocket < sse && sse < longPoll && websocket < poll && poll < longPoll, "a WebSocket has the least overhead, a long poll for each message the most", [websocket, sse, longPoll, poll]);
  const [one, other, many, some] = await numbers(page, "requests");
  check(one === 0 && other === 0 && many > some && some > 1, "since the change, WebSocket and event stream needed no request, long polls more than short ones", [one, other, many, some]);
  const [fast, , , slow] = await Promise.all(transports.map((transport) => figure(page, transport, "median")));
  check(/ ms$/.test(fast) && parseFloat(slow) > 0, "delays are shown", `${fast} ${slow}`);
  const up = await figure(page, "websocket", "up");
  check(bytesOf(up) < 100, "over a WebSocket that only listens nearly nothing goes up", up);
  const each = bytesOf(await figure(page, "websocket", "each"));
  check(each > 64 && each < 250, "a message of 64 bytes costs a little more over a WebSocket", each);
  const label = await until(() => page.locator("[data-transport=sse] canvas").getAttribute("aria-label"));
  check(/Event stream: delay .* Median \d/.test(label), "the chart says in words what it shows", label);
}

async function controlsWork({ page }) {
  await page.getByLabel("Payload, bytes").selectOption("4000");
  check(await until(async () => bytesOf(await figure(page, "websocket", "each")) > 4_000), "a larger payload costs more bytes");
  await page.getByLabel("Compress").check();
  const saved = await until(async () => /none/.test(await figure(page, "websocket", "overhead")));
  check(saved, "compressed, it takes fewer than the payload", await figure(page, "websocket", "overhead"));
  check(/permessage-deflate/.test(await until(async () => {
    const head = await page.locator("#response-head").innerText();
    return /permessage-deflate/.test(head) && head;
  })), "the handshake shows that it was agreed on");
  await page.getByLabel("Compress").uncheck();
  await page.getByLabel("Payload, bytes").selectOption("64");
  const state = page.locator("[data-transport=long-poll]");
  await page.getByLabel("Long poll waits").selectOption("1");
  check(await until(() => state.getAttribute("data-state").then((value) => value === "connected")), "a long poll with another wait goes on");
}

async function theHandshake({ page }) {
  await until(async () => !/permessage-deflate/.test(await page.locator("#response-head").innerText()));
  const [request, response] = [await page.locator("#request-head").innerText(), await page.locator("#response-head").innerText()];
  check(/^GET \/channel\/lab-\w+\?\S* HTTP\/1\.1\n/.test(request) && /^Host: 127/m.test(request), "the request's head is shown", request);
  check(/^HTTP\/1\.1 101 Switching Protocols\n/.test(response), "the answer's head is shown", response);
  const key = /^Sec-WebSocket-Key: (.*)$/m.exec(request)[1];
  const digest = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest();
  const codes = await page.locator("#steps code").allInnerTexts();
  checkEqual(codes.slice(2), [digest.toString("hex").replace(/..(?!$)/g, "$& "), digest.toString("base64")], "SHA-1 and Base64 are right");
  check(response.includes(codes[3]), "and are what the server answered");
  check(/The same as Sec-WebSocket-Accept/.test(await page.locator("#steps li").last().innerText()), "which the page says");
}

/** The cells of one part of a frame, in hex. */
function cells(page, frame, part) {
  return page.locator(`#frame-${frame} .${part} button`).evaluateAll((all) => all.map((cell) => cell.firstChild.textContent).join(" "));
}

async function framesAreTakenApart({ page }) {
  const lengths = { 5: ["", "05"], 126: ["00 7e", "7e"], 70_000: ["00 00 00 00 00 01 11 70", "7f"] };
  for (const [length, [extended, short]] of Object.entries(lengths)) {
    const text = "Redpoll pecks at seeds. ".repeat(4_000).slice(0, length);
    await page.getByLabel("Message", { exact: true }).fill(text);
    await page.getByRole("button", { name: "Send" }).click();
    const bytes = Number(length);
    await until(async () => (await page.locator("#frame-in").innerText()).includes(`${bytes.toLocaleString("en")} of payload`));
    checkEqual([await cells(page, "in", "flags"), await cells(page, "in", "length"), await cells(page, "in", "extended"), await cells(page, "in", "key")],
      ["81", short, extended, ""], `${length} bytes from the server: final text, not masked, the length in its shortest form`);
    const [flags, second, more, key] = await Promise.all(["flags", "length", "extended", "key"].map((part) => cells(page, "out", part)));
    const wholeFrame = flags === "81";
    // A browser may send a long message in several frames.
    check(wholeFrame || bytes > 65_535 && flags === "01", `${length} bytes from the browser: text`, flags);
    if (wholeFrame) checkEqual([second, more], [(parseInt(short, 16) | 0x80).toString(16), extended], `${length} bytes from the browser: masked, the same length`);
    const mask = key.split(" ").map((hex) => parseInt(hex, 16));
    const payload = (await cells(page, "out", "payload")).split(" ").map((hex, index) => String.fromCharCode(parseInt(hex, 16) ^ mask[index % 4]));
    checkEqual(payload.join(""), text.slice(0, 48), `${length} bytes from the browser: unmasked with its key, what was sent`);
    checkEqual((await page.locator("#frame-out .payload small").allInnerTexts()).join("").replaceAll("␣", " "), text.slice(0, 48), `${length} bytes: and so it is shown`);
  }
  await page.locator("#frame-out .flags button").focus();
  await page.keyboard.press("ArrowRight");
  check(/MASK 1/.test(await page.locator("#frame-out .explanation").innerText()), "arrow keys go from byte to byte, which explain themselves");
  await page.locator("#frame-in .flags button").hover();
  check(/FIN 1.*opcode 1: text/.test(await page.locator("#frame-in .explanation").innerText()), "so does the mouse");
  await page.getByLabel("Message", { exact: true }).fill("x".repeat(140_000));
  await page.getByRole("button", { name: "Send" }).click();
  check(await until(async () => /1009/.test(await page.locator("#frames-notice").innerText())), "a message that is too large is said to be");
  await page.getByRole("button", { name: "125", exact: true }).click();
  check(await until(async () => /125 of payload/.test(await page.locator("#frame-in").innerText())), "and the next one goes over a new WebSocket");
  await page.getByLabel("Compress").check();
  await page.getByRole("button", { name: "126", exact: true }).click();
  const inflated = until(async () => /Inflated, it is 126 characters: Hello, world\./.test(await page.locator("#frame-out").innerText()));
  check(await inflated, "a compressed frame is inflated", await page.locator("#frame-out").innerText());
  checkEqual(await cells(page, "out", "flags"), "c1", "and has RSV1");
  await page.getByLabel("Compress").uncheck();
}

/**
 * A proxy that reads HTTP: it may hold event streams back for a time, or until so many bytes are there, refuse upgrades,
 * and put another Host in.
 */
async function startProxy(portOf, { holdMs = 0, holdBytes = 0, refuses = false, host, name = "" }) {
  const proxy = http.createServer((request, response) => {
    const { method, url } = request;
    const headers = { ...request.headers, ...(host && { host }) };
    const asked = http.request({ port: portOf(), host: "127.0.0.1", method, path: url, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, { ...answer.headers, ...(name && { Server: name }) });
      const isStream = answer.headers["content-type"] === "text/event-stream";
      if (!isStream || !(holdMs || holdBytes)) {
        response.flushHeaders();
        return answer.pipe(response);
      }
      response.flushHeaders();
      let held = [];
      const release = () => {
        if (held.length) response.write(Buffer.concat(held));
        held = [];
      };
      const timer = holdMs && setInterval(release, holdMs);
      answer.on("data", (bytes) => {
        held.push(bytes);
        if (holdBytes && Buffer.concat(held).length >= holdBytes) release();
      });
      answer.on("close", () => clearInterval(timer));
    });
    asked.on("error", () => response.destroy());
    response.on("close", () => asked.destroy());
    request.pipe(asked);
  });
  proxy.on("upgrade", (request, socket, head) => {
    socket.on("error", () => {});
    if (refuses) return socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    const server = net.connect(portOf(), "127.0.0.1", () => {
      const fields = request.rawHeaders.map((text, index) => (index % 2 ? `${text}\r\n` : `${text}: `)).join("");
      server.write(`GET ${request.url} HTTP/1.1\r\n${fields}\r\n`);
      server.write(head);
      server.pipe(socket).pipe(server);
    });
    server.on("error", () => socket.destroy());
    socket.on("close", () => server.destroy());
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${proxy.address().port}`,
    stop: () => {
      proxy.closeAllConnections();
      proxy.close();
    },
  };
}

async function theCheckOfProxies(browser, server, cleanup) {
  const cases = [
    ["a clean one", {}, [/WebSockets pass/, /Event streams pass/, /Long polls pass/, /Nothing stands in the way/], /proxy_|flush/],
    ["one that puts another Host in", { host: "127.0.0.1:8080", name: "nginx/1.26.3" },
      [/puts another Host in/, /proxy_set_header Host \$http_host;/], /Nothing stands|WebSockets? pass|does not upgrade|could not be checked|ProxyPreserveHost/],
    ["one that holds event streams back for 4 s", { holdMs: 4_000, name: "nginx/1.26.3" },
      [/is nginx\/1\.26\.3/, /holds event streams back, up to [34](\.\d)? s/, /proxy_buffering off;/, /WebSockets pass/], /Nothing stands|flush_interval/],
    ["one that gathers 8 KB", { holdBytes: 8_192, name: "Caddy" },
      [/nothing came for \d+(\.\d)? s, and all at once when .* kB more/, /flush_interval -1/, /Long polls pass/], /Nothing stands|proxy_buffering/],
    ["one that refuses to upgrade", { refuses: true },
      [/Event streams pass/, /does not upgrade to WebSocket/, /proxy_set_header Upgrade \$http_upgrade;/, /upgrade=websocket/, /Long polls pass/], /Nothing stands/],
    ["one that does both", { holdMs: 4_000, refuses: true, name: "nginx/1.26.3" }, [/proxy_buffering off;/, /proxy_http_version 1\.1;/], /Nothing stands/],
  ];
  await Promise.all(cases.map(async ([name, options, expected, unexpected]) => {
    const proxy = await startProxy(() => server.port, options);
    cleanup(() => proxy.stop());
    const { page, context } = await openWindow(browser);
    await page.goto(`${proxy.origin}/lab`);
    await page.getByRole("button", { name: "Check the way" }).click();
    await page.getByRole("button", { name: "Check again" }).waitFor({ timeout: 60_000 }).catch(() => {});
    const found = await page.locator("#findings").innerText();
    for (const sentence of expected) check(sentence.test(found), `a proxy, ${name}: ${sentence.source}`, found);
    check(!unexpected.test(found), `a proxy, ${name}: nothing else`, found);
    const lines = (await page.locator("#findings pre").allInnerTexts()).flatMap((text) => text.split("\n"));
    checkEqual(lines, [...new Set(lines)], `a proxy, ${name}: no line twice, which nginx refuses`);
    if (options.refuses) checkEqual(await page.locator("#request-head").innerText(), "…", `a proxy, ${name}: no handshake is shown where there was none`);
    if (options.holdMs || options.refuses) await shoot(page, `lab-${name.replaceAll(" ", "-")}`);
    await context.close();
  }));
}

async function inChinese(browser, server) {
  const { page, context, faults } = await openWindow(browser, { locale: "zh-CN" });
  await page.goto(`${server.origin}/lab`);
  check(await until(async () => (await page.locator("html").getAttribute("lang")) === "zh-CN"), "a Chinese browser gets the page in Chinese");
  await until(() => page.locator("#steps li").count());
  const silent = await page.evaluate(() => [...document.querySelectorAll("[data-text], #columns dt, #steps li, .label")].filter((element) => !/[\u4e00-\u9fff]|WebSocket/.test(element.textContent)).map((element) => element.textContent));
  checkEqual(silent, [], "all of it");
  await shoot(page, "lab-chinese");
  checkEqual(faults, [], "Chinese: no fault");
  await context.close();
}

async function withTokens(browser, binary, cleanup) {
  const server = await startServer(binary, 0, ["--secret", secret]);
  cleanup(() => server.stop());
  const mint = (...patterns) => execFileSync(binary, ["token", "--secret", secret, ...patterns], { encoding: "utf8" }).trim();
  const token = mint("--subscribe", "lab-*", "--publish", "lab-*");
  const { page, context } = await openWindow(browser);
  await page.goto(`${server.origin}/lab?token=${token}`);
  check(await until(async () => (await numbers(page, "messages")).every((count) => count >= 3)), "with a token in its address the lab works where tokens are needed", await numbers(page, "messages"));
  check(await until(async () => (await numbers(page, "requests")).every((count) => count >= 1)), "and is told its bytes", await numbers(page, "requests"));
  await context.close();

  const key = "0123456789abcdef0123456789abcdef";
  const ask = async (path, bearer) => {
    const response = await fetch(server.origin + path, { headers: bearer ? { Authorization: `Bearer ${bearer}` } : {} });
    return [response.status, response.ok ? await response.json() : null];
  };
  checkEqual((await ask(`/channel/lab-a?tap=${key}`, token))[0], 200, "a poll is recorded");
  checkEqual((await ask(`/lab/wire?channel=lab-a&tap=${key}`))[0], 401, "what was recorded needs a token");
  checkEqual((await ask(`/lab/wire?channel=lab-a&tap=${key}`, mint("--subscribe", "other")))[0], 403, "one that lets its holder subscribe");
  const [, [tap]] = await ask(`/lab/wire?channel=lab-a&tap=${key}`, token);
  check(tap?.requests === 1 && !tap.received.head.includes(token) && /authorization: \(not shown\)/i.test(tap.received.head), "then it is shown, but no credentials", JSON.stringify(tap));
  checkEqual((await ask(`/lab/wire?channel=lab-b&tap=${key}`, token))[1], [null], "to those who name the channel");
  checkEqual((await ask(`/channel/lab-a?tap=short`, token))[0], 400, "a key that could be guessed is refused");
}

/** Their frames and heads are their own, and are understood just so. */
async function inOtherBrowsers(server, cleanup) {
  for (const start of [startFirefox, startWebKit]) {
    const browser = await start();
    cleanup(() => browser.close());
    const { run } = await browser.tab(`${server.origin}/lab`);
    // Tabs of a browser that is driven are not always seen, and a hidden lab publishes nothing.
    await run(() => { Object.defineProperty(document, "hidden", { value: false }); });
    const counts = () => run(() => [...document.querySelectorAll("[data-value=messages]")].map(({ textContent }) => parseFloat(textContent)));
    const works = await until(async () => {
      await sleep(500);
      const all = await counts();
      return all.length === 4 && all.every((count) => count >= 4);
    }, 30_000);
    check(works, `${browser.name}: messages come over all four`, JSON.stringify(await counts()));
    const told = await run(() => ({
      verified: document.getElementById("handshake").dataset.verified,
      overhead: document.querySelector("[data-transport=websocket] [data-value=overhead]").textContent,
      sent: [...document.querySelectorAll("#frame-out .payload small")].map(({ textContent }) => textContent).join(""),
      wider: document.documentElement.scrollWidth - innerWidth,
    }));
    check(told.verified === "true" && /\d %/.test(told.overhead), `${browser.name}: the handshake is verified, bytes are counted`, JSON.stringify(told));
    checkEqual(told.sent, "Hello", `${browser.name}: the frame that it sent is unmasked`);
    check(told.wider <= 0, `${browser.name}: nothing sticks out`, `${told.wider} pixels`);
    await browser.close();
  }
}
