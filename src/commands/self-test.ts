// `pipit self-test`: does this release run on this board? Loads the native library and the configured model, answers one
// prompt, reaches the service manager's tools, and measures the memory it took. No broker, no journal, nothing is changed.
import { systemClock } from "../core/clock.ts";
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import type { Config } from "../config/schema.ts";
import { PipitError, toError } from "../core/errors.ts";
import type { MemoryShape } from "../core/memory-plan.ts";
import type { Logger, ModelSpec, Piece } from "../core/ports.ts";
import { Sensors } from "../device/sensors.ts";
import { ChildEngine } from "../engine/child-engine.ts";
import { createLogger } from "../logger.ts";
import { ModelLibrary } from "../models/library.ts";
import { canSendDirectly } from "../systemd/datagram.ts";
import { version } from "../version.ts";
import { ENCODER_SHAPE, specifyModel } from "../work/model-specifier.ts";
import { type Command, EXIT } from "./command.ts";

interface SelfTest {
  model: string;
  text: string;
  load_ms: number;
  tokens_per_second: number;
  /** What was loaded beside it, as the agent does; null when there is none in the store. */
  encoder: string | null;
  /** Parent and child with all that loaded and one answer given. */
  memory_bytes: number;
  notify: "koffi" | "none";
}

export const command: Command = {
  name: "self-test",
  summary: "load the model and answer one prompt, without a broker",
  help: `Usage: pipit self-test [--json]

Exit 0 when the native library loads, the configured model answers and memory was measured; 1 otherwise, with the reason.

${CONFIG_HELP}`,
  options: CONFIG_OPTIONS,
  async run({ env, values, json, signal, stdout, isTty }) {
    const { config } = loadConfig({ env, args: values });
    const log = await createLogger(config.log, isTty);
    try {
      const result = await selfTest(config, log, env, signal);
      const text = `${result.model} loaded in ${result.load_ms} ms, ${result.tokens_per_second} tokens/s, ${Math.round(result.memory_bytes / 2 ** 20)} MiB: ${result.text}\n`;
      stdout(json ? `${JSON.stringify({ verdict: "passed", version, ...result })}\n` : text);
      return EXIT.ok;
    } catch (thrown) {
      if (!json) throw thrown;
      const { message } = toError(thrown);
      stdout(`${JSON.stringify({ verdict: "failed", version, error: message })}\n`);
      return EXIT.failed;
    }
  },
};

async function selfTest(config: Config, log: Logger, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<SelfTest> {
  const library = new ModelLibrary({ directory: config.model.dir, catalogFile: config.model.catalogueFile, env });
  const spec = await mainModel(library, config, log, signal);
  const engine = new ChildEngine({ nice: config.governor.nice }, {}, log.child({ room: "engine" }), systemClock);
  await engine.start();
  try {
    const { loadMs } = await engine.load(spec);
    // One thread: beside the running agent and its neighbours, more would fight over the cores (design.md §1).
    engine.setThreads({ prefill: 1, decode: 1 });
    const { text, tokensPerSecond } = await answer(engine, spec.kind);
    const encoder = spec.kind === "encoder" ? spec.name : await loadEncoder(engine, library, config);
    const { memory } = await engine.measure();
    return {
      model: spec.name,
      text,
      encoder,
      load_ms: Math.round(loadMs),
      tokens_per_second: Math.round(tokensPerSecond * 100) / 100,
      memory_bytes: memory.rssBytes + process.memoryUsage.rss(),
      notify: (await canSendDirectly()) ? "koffi" : "none",
    };
  } finally {
    await engine.stop();
  }
}

/** The generative model; the encoder where none is wanted, or where the board is too small for it, as in the agent. */
async function mainModel(library: ModelLibrary, config: Config, log: Logger, signal: AbortSignal): Promise<ModelSpec> {
  const { name, encoder, contextTokens, batchTokens, sequences } = config.model;
  const readings = new Sensors({ sensorsRoot: config.governor.sensorsRoot, clock: systemClock }).read();
  const specify = async (wanted: string, configured: MemoryShape) => {
    const onNote = (line: string) => log.info({ model: wanted }, line);
    const file = await library.obtain(wanted, { onProgress: () => undefined, onNote, signal });
    return specifyModel({ file, configured, readings }).spec;
  };
  if (name === "none") return specify(encoder, ENCODER_SHAPE);
  try {
    return await specify(name, { contextTokens, batchTokens, sequences });
  } catch (error) {
    const { code } = toError(error) as Partial<PipitError>;
    if (code !== "memory_short" || encoder === "none") throw error;
    log.warn({ model: name }, toError(error).message);
    return specify(encoder, ENCODER_SHAPE);
  }
}

/** Nothing is fetched for it: an agent without an encoder classifies with its decoder. */
async function loadEncoder(engine: ChildEngine, library: ModelLibrary, config: Config): Promise<string | null> {
  const name = config.model.encoder;
  if (name === "none" || name === config.model.name) return null;
  try {
    const found = await library.find(name);
    const file = { ...found, shape: found.header };
    const readings = new Sensors({ sensorsRoot: config.governor.sensorsRoot, clock: systemClock }).read();
    const { spec } = specifyModel({ file, configured: ENCODER_SHAPE, readings });
    await engine.load(spec);
  } catch (error) {
    const { code } = toError(error) as Partial<PipitError>;
    if (code === "model_missing" || code === "memory_short") return null;
    throw error;
  }
  await answer(engine, "encoder");
  return name;
}

async function answer(engine: ChildEngine, kind: "decoder" | "encoder") {
  if (kind === "encoder") {
    const { vectors } = await engine.embed(["turn on the light"]);
    return { text: `a vector of ${vectors[0]?.length ?? 0}`, tokensPerSecond: 0 };
  }
  const turns = [{ role: "user" as const, text: "What is the capital of France?" }];
  let text = "";
  let end: Extract<Piece, { kind: "end" }> | undefined;
  for await (const piece of engine.generate({ id: "self-test", turns, maxTokens: 24, temperature: 0 })) {
    if (piece.kind === "text") text += piece.text;
    else end = piece;
  }
  if (end === undefined || text.trim() === "") throw new PipitError("bug", "no_answer", "the model gave no answer");
  return { text: text.trim(), tokensPerSecond: (end.usage.completionTokens / end.generateMs) * 1000 };
}
