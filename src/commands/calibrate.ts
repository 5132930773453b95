// `pipit calibrate`: measures how fast this board runs the configured model at every thread count, stores the card for the
// agent and draws it. The running agent does the same by itself when it is idle; this is for whoever wants to see it now.
import { join } from "node:path";
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import type { Config } from "../config/schema.ts";
import { type CalibrationCard, cardToWire, type SweepRun } from "../core/calibration.ts";
import { systemClock } from "../core/clock.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { Logger } from "../core/ports.ts";
import { bestThreads } from "../core/speed-curve.ts";
import { CardStore } from "../device/card-store.ts";
import { cpuName } from "../device/inventory.ts";
import { Sensors } from "../device/sensors.ts";
import { ChildEngine } from "../engine/child-engine.ts";
import { libraryVersion } from "../engine/library-version.ts";
import { createLogger } from "../logger.ts";
import { ModelLibrary } from "../models/library.ts";
import { Calibrator, type CalibratorOptions } from "../work/calibrator.ts";
import { Governor } from "../work/governor.ts";
import { specifyModel } from "../work/model-specifier.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";
import { bars } from "./terminal-plot.ts";

const BAR_WIDTH = 40;

export const command: Command = {
  name: "calibrate",
  summary: "measure the model's speed by thread count on this board, and store it for the agent",
  help: `Usage: pipit calibrate [options]

Takes up to 40 seconds. Stop other programs first: runs beside a busy neighbour do not count. The card is kept by model,
CPU and library version, in the directory of the agent's state; the agent reads it when it loads the model.
Exit codes: 0 measured, 75 other programs keep the board busy.

${CONFIG_HELP}`,
  options: CONFIG_OPTIONS,
  run: calibrate,
};

async function calibrate(context: CommandContext): Promise<number> {
  const { values, env, json, isTty, signal, stdout, stderr } = context;
  const { config } = loadConfig({ env, args: values });
  const log = await createLogger({ ...config.log, level: "error" }, isTty);
  const library = new ModelLibrary({ directory: config.model.dir, catalogFile: config.model.catalogueFile, env });
  const onNote = (line: string) => stderr(`${line}\n`);
  const file = await library.obtain(config.model.name, { onProgress: () => {}, onNote, signal });
  if (!json) stdout(`calibrating ${file.name} on this board…\n`);
  const progress = json ? undefined : new SweepProgress(isTty, stderr);
  const card = await measure(config, file, { log, signal, onProgress: progress?.update }).finally(progress?.end);
  stdout(json ? `${JSON.stringify(cardToWire(card), undefined, 2)}\n` : drawing(card));
  return EXIT.ok;
}

interface Sweep {
  log: Logger;
  signal: AbortSignal;
  onProgress: CalibratorOptions["onProgress"];
}

/** One line a run; on a terminal it is written over the one before, and gone at the end. */
export class SweepProgress {
  readonly #isTty: boolean;
  readonly #write: (text: string) => void;

  constructor(isTty: boolean, write: (text: string) => void) {
    this.#isTty = isTty;
    this.#write = write;
  }

  readonly update = (done: number, most: number, { threads, sequences }: SweepRun): void => {
    const answers = sequences === 1 ? "1 answer" : `${sequences} answers side by side`;
    const line = `run ${done + 1} of ${most}: ${threads} ${threads === 1 ? "thread" : "threads"}, ${answers}`;
    this.#write(this.#isTty ? `\r\x1b[K${line}` : `${line}\n`);
  };

  readonly end = (): void => {
    if (this.#isTty) this.#write("\r\x1b[K");
  };
}

/** The engine and a governor of our own, for as long as it takes. */
async function measure(config: Config, file: ModelFile, { log, signal, onProgress }: Sweep): Promise<CalibrationCard> {
  const clock = systemClock;
  const { sensorsRoot, nice } = config.governor;
  const sensors = new Sensors({ sensorsRoot, clock });
  const configured = { contextTokens: 1024, batchTokens: config.model.batchTokens, sequences: 4 };
  const { spec } = specifyModel({ file, configured, readings: sensors.read() });
  const engine = new ChildEngine({ nice }, { onStep: (step) => calibrator.onStep(step) }, log, clock);
  const { contextTokens, batchTokens, sequences, maxThreads } = spec;
  const governor = new Governor({
    clock,
    log,
    sensors,
    engine,
    plan: { contextTokens, batchTokens, sequences, modelRung: 0, modelReason: "" },
  });
  const cards = new CardStore(join(config.state.dir, "cards"));
  const calibrator = new Calibrator({ engine, governor, cards, clock, log, onProgress, isIdle: () => false });
  try {
    await engine.start();
    await engine.load(spec);
    await governor.start();
    const key = { modelSha256: file.sha256, cpu: cpuName(sensorsRoot), library: libraryVersion() };
    await calibrator.setSubject({ name: file.name, key, maxThreads, sequences });
    return await calibrator.run(signal);
  } finally {
    await calibrator.stop();
    await governor.stop();
    await engine.stop();
    await sensors.stop();
  }
}

/** The card for eyes. */
export function drawing({ curve, batching, model, key, tookMs }: CalibrationCard): string {
  const threadsOf = (speeds: Record<number, number>) => Object.keys(speeds).map(Number);
  const most = Math.max(...threadsOf(curve.decode), ...threadsOf(curve.prefill));
  const chart = (phase: "prefill" | "decode") =>
    bars(
      threadsOf(curve[phase]).map((threads) => ({
        label: `${threads} ${threads === 1 ? "thread " : "threads"}`,
        value: curve[phase][threads] ?? 0,
        note: threads === bestThreads(curve, phase, most) ? "tok/s ← best" : "tok/s",
      })),
      BAR_WIDTH,
    );
  const side = batching.filter(({ sequences }) => sequences > 1);
  return [
    `${model} on ${key.cpu}, ${(tookMs / 1000).toFixed(0)} s`,
    "",
    "reading a prompt",
    chart("prefill"),
    "",
    "writing an answer",
    chart("decode"),
    ...side.map(
      ({ sequences, threads, tokensPerSecond }) =>
        `${sequences} answers side by side: ${tokensPerSecond.toFixed(0)} tok/s in all, ${threads} threads`,
    ),
    "",
  ].join("\n");
}
