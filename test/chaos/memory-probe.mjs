// Preloaded into agent and model process (`node --import`): writes what each uses, every five seconds, to a file of its own in
// PROBE_DIRECTORY. Collects the garbage first, so that growth is not hidden in it; that is all it changes.
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const EVERY_MS = 5_000;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
const room = process.argv[1]?.endsWith("engine/child.js") ? "child" : "daemon";
const file = join(process.env["PROBE_DIRECTORY"], `${room}-${process.pid}.jsonl`);

setInterval(() => {
  collect();
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  appendFileSync(file, `${JSON.stringify({ ms: Date.now(), rss, heapUsed, external, arrayBuffers })}\n`);
}, EVERY_MS).unref();
