// `pipit run` with a stand-in behind the engine port, for runs that are about delivery: everything else is the built agent.
// An answer takes some milliseconds and is different every time it is generated, so that a second generation would show.
// Questions that contain "poison" end this process, as a native library that fails would end a process of its own.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { App } from "../../dist/app.js";
import { loadConfig } from "../../dist/config/load.js";
import { CONFIG_OPTIONS } from "../../dist/config/outside.js";
import { systemClock } from "../../dist/core/clock.js";
import { PipitError } from "../../dist/core/errors.js";
import { createLogger } from "../../dist/logger.js";
import { keepHeapSmall } from "../../dist/small-heap.js";

keepHeapSmall();

const MEMORY = { rssBytes: 1, anonymousBytes: 1, fileBytes: 0 };
const ANSWER_MS = Number(process.env["CHAOS_ANSWER_MS"] ?? 40);

class StandIn {
  #model;

  get status() {
    return { state: this.#model ? "ready" : "empty", deaths: 0, ...(this.#model && { model: this.#model }) };
  }

  async start() {}

  async stop() {}

  async load({ name, kind, contextTokens }) {
    this.#model = {
      name,
      kind,
      contextTokens,
      trainContextTokens: 8192,
      vocabularyTokens: 1,
      loadMs: 0,
      memory: MEMORY,
    };
    return this.#model;
  }

  async unload() {
    this.#model = undefined;
  }

  async *generate({ turns }, signal) {
    if (turns.at(-1)?.text.includes("poison")) process.kill(process.pid, "SIGKILL");
    for (const text of ["Answer ", randomUUID()]) {
      await pause(ANSWER_MS * Math.random(), undefined, { signal }).catch((cause) => {
        throw new PipitError("transient", "aborted", "cancelled", { cause });
      });
      yield { kind: "text", text };
    }
    const usage = { promptTokens: 9, cachedTokens: 0, completionTokens: 2 };
    yield { kind: "end", finish: "stop", usage, prefillMs: 1, generateMs: ANSWER_MS };
  }

  async score() {
    throw new PipitError("transient", "model_unavailable", "the stand-in scores nothing");
  }

  async embed() {
    throw new PipitError("transient", "model_unavailable", "the stand-in embeds nothing");
  }

  async tokenize(turns) {
    return turns.map(() => 1);
  }

  setThreads() {}

  async measure() {
    return { memory: MEMORY, cpuMs: 0, involuntarySwitches: 0, majorFaults: 0 };
  }
}

const { values } = parseArgs({ options: CONFIG_OPTIONS });
const { config, secret } = loadConfig({ env: process.env, args: values });
const log = await createLogger({ ...config.log, format: "json" }, false);
const app = new App({ config, secret, version: "chaos", log, clock: systemClock, createEngine: () => new StandIn() });
const ending = new AbortController();
process.once("SIGTERM", () => ending.abort());
await app.start(ending.signal);
if (!ending.signal.aborted) await new Promise((resolve) => ending.signal.addEventListener("abort", resolve));
await app.stop();
