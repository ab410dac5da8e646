/**
 * Follows a channel in whatever runtime this is: each state and each message becomes a line of JSON, and each line that
 * it is given a message. It ends with its input.
 *
 *     deno run --allow-all runtime.mjs MODULE ORIGIN
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [module, origin] = process.argv.slice(2);
const { subscribe } = await import(pathToFileURL(module));
const say = (value) => console.log(JSON.stringify(value));

const room = subscribe(`${origin}/channel/numbers`, {
  since: "earliest",
  patience: 0.7,
  token: async () => (await fetch(`${origin}/token`)).text(),
  onmessage: ({ data }) => say({ data }),
  onstate: ({ state, transport, reason = "" }) => say({ state: `${state} ${transport}: ${reason}` }),
});
for await (const line of createInterface({ input: process.stdin })) await room.publish(line);
room.close();
