/**
 * Runs all browser tests, two at a time, since they mostly wait: `node tests/browser/run.mjs target/release/redpoll`.
 * More at once would have them wait for the processor, and take what is slow for broken.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

/** The longest first. */
const waiting = ["following.mjs", "chat.mjs", "room.mjs", "client.mjs", "accessible.mjs", "lab.mjs", "status.mjs", "tutorial.mjs"];
let failed = 0;

async function runOneAfterTheOther() {
  for (let name; (name = waiting.shift());) {
    const script = fileURLToPath(new URL(name, import.meta.url));
    const begin = Date.now();
    const child = spawn(process.execPath, [script, ...process.argv.slice(2)], { stdio: ["ignore", "pipe", "inherit"] });
    const [said, [status]] = await Promise.all([text(child.stdout), once(child, "exit")]);
    console.log(`${name}, ${Math.round((Date.now() - begin) / 1000)} s:\n${said}`);
    if (status !== 0) failed += 1;
  }
}

await Promise.all([runOneAfterTheOther(), runOneAfterTheOther()]);
process.exit(failed);
