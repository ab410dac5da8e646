/** Everything that the lab says. What stands in the page already has no English here. */

export const language = navigator.languages?.find((name) => /^(en|zh)\b/i.test(name))?.slice(0, 2).toLowerCase() ?? "en";

/** Key: English, Chinese. `{0}` is the first value. */
const texts = {
  title: [, "实验室"],
  subtitle: [, "四种传输，同一消息流"],
  chat: [, "去聊天室"],
  source: [, "客户端源码"],
  lead: [, "本页发布带编号的消息，每条消息都会经四种传输各收回一次。字节数是服务器的套接字实际读写的数量。"],
  rate: [, "每秒消息数"],
  size: [, "载荷（字节）"],
  interval: [, "短轮询间隔（秒）"],
  wait: [, "长轮询等待（秒）"],
  deflate: [, "压缩 WebSocket 消息"],
  pause: ["Pause", "暂停"],
  resume: ["Go on", "继续"],
  handshake: [, "握手的真实过程"],
  handshakeLead: [, "WebSocket 以一个 HTTP 请求开始。下面是本页自己的握手：请求头到达服务器时、响应头离开服务器时的样子。"],
  request: [, "浏览器请求"],
  response: [, "服务器回答"],
  frames: [, "逐字节看一个帧"],
  framesLead: [, "通过单独的 WebSocket 发送任意内容，看它的帧和返回的帧的每个字节。长度的写法在 126 和 65,536 字节处改变。"],
  own: [, "消息"],
  send: [, "发送"],
  proxy: [, "中间有什么？"],
  proxyLead: [, "代理可能扣住消息或拒绝升级。这里会在 4 秒内每半秒发送一块数据，打开一个 WebSocket，等待一次长轮询，并说出所见。"],
  check: [, "检查到服务器的路"],

  "websocket": ["WebSocket", "WebSocket"],
  "sse": ["Event stream", "事件流"],
  "long-poll": ["Long polling", "长轮询"],
  "poll": ["Short polling", "短轮询"],
  "websocket hint": ["One open socket, both ways.", "一个打开的套接字，双向。"],
  "sse hint": ["One answer that never ends.", "一个永不结束的回答。"],
  "long-poll hint": ["A question, held until there is news.", "一个问题，有消息才回答。"],
  "poll hint": ["The same question, again and again.", "同一个问题，一遍又一遍。"],
  connecting: ["connecting", "连接中"],
  connected: ["connected", "已连接"],
  reconnecting: ["reconnecting", "重新连接"],
  closed: ["closed", "已关闭"],

  delay: ["Delay, last", "最近延迟"],
  median: ["Median", "中位延迟"],
  most: ["95 % within", "95% 以内"],
  earlier: ["30 s ago", "30 秒前"],
  now: ["now", "现在"],
  messages: ["Messages", "消息"],
  missing: ["{0}, {1} missing", "{0}，缺 {1}"],
  requests: ["Requests", "请求"],
  up: ["To the server", "发往服务器"],
  down: ["From the server", "来自服务器"],
  each: ["A message costs", "每条消息"],
  overhead: ["Overhead", "开销"],
  saved: ["none: {0} less than the payload", "无：比载荷少 {0}"],
  quiet: ["Last byte", "最后一字节"],
  ago: ["{0} ago", "{0} 前"],
  chart: ["{0}: delay of the messages of the last 30 s. Median {1}, highest {2}.", "{0}：最近 30 秒消息的延迟。中位 {1}，最高 {2}。"],
  paused: ["Paused: nothing is published.", "已暂停：不发布消息。"],
  unpublished: ["Nothing can be published: {0}", "无法发布：{0}"],
  unrecorded: ["The server has too many labs open to count the bytes of this one.", "服务器上打开的实验室太多，无法统计本页的字节。"],
  since: ["Counted since the controls were last changed.", "自上次更改设置起计数。"],

  key: ["The browser picks 16 random bytes and sends them as Base64 in Sec-WebSocket-Key:", "浏览器随机取 16 字节，以 Base64 写入 Sec-WebSocket-Key："],
  magic: ["The server puts the same text behind it as every server (RFC 6455 §1.3):", "服务器在后面接上固定的文字（RFC 6455 §1.3）："],
  sha1: ["The SHA-1 of the two, 20 bytes:", "两者的 SHA-1，20 字节："],
  base64: ["These in Base64, computed in this page:", "再转为 Base64（由本页计算）："],
  verified: ["The same as Sec-WebSocket-Accept: the server has read the key, so it is no cache that answers.", "与 Sec-WebSocket-Accept 相同：服务器读过这个键，回答的不是缓存。"],
  differs: ["This is not Sec-WebSocket-Accept: somebody else has answered.", "与 Sec-WebSocket-Accept 不同：回答者另有其人。"],
  proves: ["It proves nothing about who the server is, and hides nothing.", "它不证明服务器是谁，也不隐藏任何东西。"],

  sentFrame: ["Sent by the browser", "浏览器发出"],
  receivedFrame: ["Received from the server", "从服务器收到"],
  frameOf: ["{0} bytes: {1} of header, {2} of payload.", "共 {0} 字节：头 {1}，载荷 {2}。"],
  fragments: ["The first of {0} frames of this message.", "这条消息 {0} 个帧中的第一个。"],
  inflated: ["Inflated, it is {0} characters: {1}", "解压后为 {0} 个字符：{1}"],
  more: ["… and {0} more", "… 还有 {0} 个"],
  partFlags: ["Flags, opcode", "标志、操作码"],
  partLength: ["Mask bit, length", "掩码位、长度"],
  partExtended: ["Extended length", "扩展长度"],
  partKey: ["Masking key", "掩码键"],
  partPayload: ["Payload", "载荷"],
  partMasked: ["Payload: as sent, and unmasked below", "载荷：上为发出的样子，下为去掩码后"],
  hover: ["Point at a byte, or go along them with the arrow keys.", "指向一个字节，或用方向键移动。"],
  fin1: ["FIN 1: the message ends with this frame", "FIN 1：消息到此帧结束"],
  fin0: ["FIN 0: more frames of this message follow", "FIN 0：后面还有此消息的帧"],
  rsv0: ["RSV1 0: not compressed", "RSV1 0：未压缩"],
  rsv1: ["RSV1 1: compressed (RFC 7692)", "RSV1 1：已压缩（RFC 7692）"],
  opcode: ["opcode {0}: {1}", "操作码 {0}：{1}"],
  op0: ["continuation", "后续"],
  op1: ["text", "文本"],
  op2: ["binary", "二进制"],
  op8: ["close", "关闭"],
  op9: ["ping", "ping"],
  op10: ["pong", "pong"],
  mask1: ["MASK 1: a masking key follows, as from every client", "MASK 1：后有掩码键，客户端必须如此"],
  mask0: ["MASK 0: not masked, as from every server", "MASK 0：无掩码，服务器必须如此"],
  short: ["length {0}: that is the payload’s", "长度 {0}：就是载荷长度"],
  long126: ["length 126: the next 2 bytes say it", "长度 126：由后面 2 字节给出"],
  long127: ["length 127: the next 8 bytes say it", "长度 127：由后面 8 字节给出"],
  extended: ["byte {0} of {1} of the length, most significant first: {2}", "长度的第 {0}/{1} 字节，高位在前：{2}"],
  keyByte: ["byte {0} of the masking key: picked at random for this frame, so that no page can choose what goes over the wire", "掩码键第 {0} 字节：每帧随机，使网页无法选定线路上的字节"],
  payloadByte: ["byte {0} of the payload: {1}", "载荷第 {0} 字节：{1}"],
  maskedByte: ["byte {0} of the payload: {1} xor {2}, byte {3} of the key, is {4}", "载荷第 {0} 字节：{1} 与键的第 {3} 字节 {2} 异或得 {4}"],
  socketEnded: ["The server closed this WebSocket: {0}", "服务器关闭了这个 WebSocket：{0}"],
  noSocket: ["No WebSocket gets through. The check below may tell why.", "WebSocket 无法连通。下面的检查或许能说明原因。"],

  checking: ["Checking … about 15 s.", "检查中……约 15 秒。"],
  recheck: ["Check again", "再次检查"],
  named: ["Between this page and Redpoll is {0}.", "本页与 Redpoll 之间是 {0}。"],
  unnamed: ["Nothing between this page and Redpoll says its name.", "本页与 Redpoll 之间没有自报名称的代理。"],
  streamFine: ["Event streams pass: each chunk came within {0}.", "事件流通畅：每块都在 {0} 内到达。"],
  streamLate: ["Your proxy holds event streams back, up to {0}. Add this:", "你的代理扣住事件流，最长 {0}。请加上："],
  streamHeld: ["Your proxy holds event streams back: nothing came for {0}, and all at once when {1} more were sent. Add this:", "你的代理扣住事件流：{0} 内没有数据，又发送 {1} 后才一起到达。请加上："],
  streamNever: ["Event streams do not pass: of {0} chunks {1} came within {2}. Add this:", "事件流不通：{0} 块中只有 {1} 块在 {2} 内到达。请加上："],
  streamCoded: ["Something compresses event streams ({0}), and waits for more of them: leave text/event-stream out.", "有什么在压缩事件流（{0}），因而要等更多数据：请排除 text/event-stream。"],
  socketFine: ["WebSockets pass: a message and back in {0}.", "WebSocket 通畅：往返 {0}。"],
  socketRefused: ["Your proxy does not upgrade to WebSocket{0}. Add this:", "你的代理不升级到 WebSocket{0}。请加上："],
  socketSilent: ["A WebSocket opens, but no message comes back within {0}.", "WebSocket 能打开，但 {0} 内没有消息返回。"],
  pollFine: ["Long polls pass: one waited {0} and was answered at once.", "长轮询通畅：等待 {0} 后立即得到回答。"],
  pollCut: ["A long poll was ended after {0}{1}. Give it more time:", "长轮询在 {0} 后被中断{1}。请给它更多时间："],
  pollLate: ["The answer of a long poll came {0} late.", "长轮询的回答晚了 {0}。"],
  unchecked: ["This could not be checked: {0}", "无法检查：{0}"],
  allFine: ["Nothing stands in the way.", "一路畅通。"],
};

const column = language === "zh" ? 1 : 0;

/** A text in the visitor's language. */
export function say(key, ...values) {
  return (texts[key]?.[column] ?? "").replace(/\{(\d)\}/g, (_, index) => values[index]);
}

/** Puts the page itself into the visitor's language. */
export function translate() {
  if (column === 0) return;
  document.documentElement.lang = "zh-CN";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  document.title = `${say("title")} · Redpoll`;
}

const numbers = new Intl.NumberFormat(language);
export const number = (value) => numbers.format(value);

/** Milliseconds, in a unit that is easily read. */
export function time(ms) {
  if (ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
}

export function size(bytes) {
  if (bytes === undefined || Number.isNaN(bytes)) return "–";
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  if (bytes < 999_500) return `${(bytes / 1000).toFixed(bytes < 9950 ? 1 : 0)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
