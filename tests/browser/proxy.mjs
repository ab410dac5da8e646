/** A small HTTP proxy that does to WebSockets and event streams what proxies do, and serves the page of the tests. */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";

const page = new URL("numbers.html", import.meta.url);

/**
 * Passes everything on to the server, but:
 *
 * - `proxy.webSocket` is `"pass"`, `"refuse"`, `"swallow"` (the handshake passes and nothing after it), or a number of
 *   milliseconds after which each ends;
 * - `proxy.stream` is `"pass"`, `"refuse"`, `"hold"` (the head passes, and nothing until the end), or a number of bytes
 *   that pass before the rest is held;
 * - `proxy.token` is a function that makes what `/token` answers.
 *
 * `proxy.open` counts the connections that subscribe at this moment, by transport; `proxy.asked` all there were.
 */
export async function startProxy(portOf) {
  const proxy = { webSocket: "pass", stream: "pass", token: undefined, open: {}, asked: {} };
  const sockets = new Set();
  const begin = (transport, end) => {
    proxy.open[transport] = (proxy.open[transport] ?? 0) + 1;
    proxy.asked[transport] = (proxy.asked[transport] ?? 0) + 1;
    end.once("close", () => { proxy.open[transport] -= 1; });
  };

  const listener = http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://x");
    if (pathname === "/numbers") return response.setHeader("Content-Type", "text/html").end(await readFile(page));
    if (pathname === "/token") return proxy.token ? response.end(await proxy.token()) : response.writeHead(503).end();
    const isStream = request.headers.accept === "text/event-stream";
    const isPoll = request.method === "GET" && pathname.startsWith("/channel/") && !isStream;
    if (isStream) begin("sse", response);
    if (isPoll) begin(searchParams.get("wait") === "0" ? "poll" : "long-poll", response);
    if (isStream && proxy.stream === "refuse") return response.writeHead(502).end();
    const { method, url: path, headers } = request;
    const upstream = http.request({ host: "127.0.0.1", port: portOf(), method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      const held = [];
      let passed = 0;
      answer.on("data", (bytes) => {
        const holds = isStream && (proxy.stream === "hold" || passed + bytes.length > proxy.stream);
        if (holds) held.push(bytes);
        else response.write(bytes);
        passed += bytes.length;
      });
      answer.on("end", () => response.end(Buffer.concat(held)));
      answer.on("error", () => response.destroy());
    });
    upstream.on("error", () => response.destroy());
    response.on("close", () => upstream.destroy());
    request.pipe(upstream);
  });

  listener.on("upgrade", (request, client) => {
    client.on("error", () => {});
    if (proxy.webSocket === "refuse") return client.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    begin("websocket", client);
    const server = net.connect(portOf(), "127.0.0.1");
    const fields = [];
    for (let at = 0; at < request.rawHeaders.length; at += 2) fields.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}\r\n`);
    server.write(`GET ${request.url} HTTP/1.1\r\n${fields.join("")}\r\n`);
    let head = "";
    server.on("data", (bytes) => {
      if (proxy.webSocket !== "swallow") return client.write(bytes);
      if (head.includes("\r\n\r\n")) return undefined;
      head += bytes.toString("latin1");
      return client.write(head.slice(0, head.indexOf("\r\n\r\n") + 4), "latin1");
    });
    client.pipe(server);
    for (const [one, other] of [[client, server], [server, client]]) one.on("error", () => other.destroy()).on("close", () => other.destroy());
    if (typeof proxy.webSocket === "number") setTimeout(() => client.destroy(), proxy.webSocket);
  });

  listener.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const listen = async (port) => {
    listener.listen(port, "127.0.0.1");
    await once(listener, "listening");
  };
  await listen(0);
  const { port } = listener.address();
  proxy.origin = `http://127.0.0.1:${port}`;
  /** Ends every connection and refuses new ones, as a network does that is gone. */
  proxy.cut = async () => {
    listener.close();
    for (const socket of sockets) socket.destroy();
  };
  proxy.mend = () => listen(port);
  return proxy;
}
