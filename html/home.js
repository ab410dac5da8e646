/**
 * The long-polling tutorial's chat: ask for the next message, show it, ask again.
 *
 * The server keeps each name's place, so a page needs to remember nothing: whoever loads `/home/?name=N` has a place from
 * then on, and every answer of `/get_msg/?name=N` is the message after the last one. An answer without a message comes
 * after ten seconds.
 */
const name = new URLSearchParams(location.search).get("name") ?? "";

/** A failed question is repeated after this long, then after twice as long, and never later than the second. */
const backoffMs = 1000;
const backoffMaxMs = 30_000;
/** An empty answer that came sooner than this was not the server's patience: another window asks under the same name. */
const patienceMs = 5000;

const element = (id) => document.getElementById(id);
const record = document.querySelector(".record");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const note = (text) => { element("note").textContent = text; };

element("enter").hidden = Boolean(name);
element("chat").hidden = !name;
if (name) {
  element("who").textContent = `:${name}`;
  document.title = `聊天室:${name}`;
  element("say").addEventListener("submit", sendMessage);
  showMessages();
}

async function sendMessage(event) {
  event.preventDefault();
  const field = element("txt");
  const content = field.value;
  if (!content) return;
  try {
    const response = await fetch("/send_msg/", { method: "POST", body: new URLSearchParams({ content }) });
    if (!response.ok) throw new Error(response.status);
    // Unless something else has been written in the meantime.
    if (field.value === content) field.value = "";
    note("");
  } catch {
    note("没有发出去，请再试一次。");
  }
}

async function showMessages() {
  let failures = 0;
  for (;;) {
    try {
      await showNext();
      if (failures > 0) note("");
      failures = 0;
    } catch {
      const delayMs = Math.min(backoffMs * 2 ** failures, backoffMaxMs) * (0.75 + Math.random() / 4);
      failures += 1;
      note(`连接中断，${Math.ceil(delayMs / 1000)} 秒后重试。`);
      await sleep(delayMs);
    }
  }
}

async function showNext() {
  const began = Date.now();
  const response = await fetch(`/get_msg/?name=${encodeURIComponent(name)}`, { cache: "no-store" });
  if (!response.ok) throw new Error(response.status);
  const { status, msg } = await response.json();
  if (status) {
    const paragraph = document.createElement("p");
    paragraph.dir = "auto";
    paragraph.textContent = msg;
    record.append(paragraph);
  } else if (Date.now() - began < patienceMs) {
    // Asking again at once would end the other window's question, and so on without end.
    await sleep(2000);
  }
}
