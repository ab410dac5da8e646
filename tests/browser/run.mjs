/** Runs all browser tests: `node tests/browser/run.mjs target/release/redpoll`. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const failed = ["client.mjs", "following.mjs", "chat.mjs", "room.mjs", "lab.mjs", "status.mjs", "tutorial.mjs", "accessible.mjs"].filter((name) => {
  console.log(`${name}:`);
  const script = fileURLToPath(new URL(name, import.meta.url));
  return spawnSync(process.execPath, [script, ...process.argv.slice(2)], { stdio: "inherit" }).status !== 0;
});
process.exit(failed.length);
