// The engine and the governor as the agent joins them, without the bus: what the governor's benchmarks measure.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Calibrator } from "../../src/work/calibrator.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { CalibrationCard } from "../../src/core/calibration.ts";
import type { Logger, Step } from "../../src/core/ports.ts";
import type { SpeedCurve } from "../../src/core/speed-curve.ts";
import { type TraceEntry, traceLine, type TraceSample } from "../../src/core/trace.ts";
import { Sensors } from "../../src/device/sensors.ts";
import { ChildEngine } from "../../src/engine/child-engine.ts";
import { Governor } from "../../src/work/governor.ts";
import { median, type Report, type Series } from "./bench.ts";

export const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet };

/** Tokens a second by phase. */
export type Answer = Record<"decode" | "prefill", number>;

/** Governed against fixed thread counts, in tokens a second. */
export interface Compared {
  ratio: number;
  governed: number;
  best: number;
  /** The best fixed count. */
  threads: number;
  fixed: Record<string, number>;
}

/** Words for rows, and what the files of traces end with. */
const VARIANTS = [
  { variant: "as calibrated", file: "", calibrated: true },
  { variant: "uncalibrated, 2 threads", file: "-uncalibrated", calibrated: false },
] as const;
export type Variant = (typeof VARIANTS)[number];

export type Case = (rig: GovernorRig, report: Report) => Promise<void>;

export interface TimedStep extends Step {
  endedMs: number;
}

const TOKENS = 64;
const CALM_CORES = 0.2;
/** Too many threads beside a hog write a token in seconds: what was written until then is enough to know the speed. */
const MOST_ANSWER_MS = 4000;
/** Limits and neighbours are seen within two seconds, calm after four. */
export const SETTLE_MS = 5000;
/** Tokens far from the beginning of a context cost more: such answers are compared with such answers. */
export const LONG_TOKENS = 400;
const SERIES_MS = 250;
/** After a start the first decision is made on the first 250 ms. */
const FIRST_WINDOW_MS = 500;
const STORY =
  " Tell a long story about a lighthouse, the sea, the keeper, his dog and the storm that came in the night when the lamp " +
  "went out and nobody on the ships could see the rocks any more, and how all of them were saved in the end by a bird.";

export function modelPath(name = "smollm2-135m-instruct-q4_1"): string {
  return execFileSync(process.execPath, ["dist/main.js", "models", "path", name]).toString().trim();
}

/** Cores that the process may use when the benchmark starts. */
export const cores = cpus().length;

export class GovernorRig {
  readonly engine: ChildEngine;
  governor: Governor;
  readonly calibrator: Calibrator;
  readonly steps: TimedStep[] = [];
  readonly #trace: TraceEntry[] = [];
  #curve: SpeedCurve | undefined;
  card: CalibrationCard | undefined;
  #questions = 0;

  private constructor() {
    const clock = systemClock;
    this.engine = new ChildEngine({ nice: 0 }, { onStep: (step) => this.#onStep(step) }, quiet, clock);
    this.governor = this.#createGovernor();
    this.calibrator = new Calibrator({
      engine: this.engine,
      governor: this.governor,
      cards: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
      clock,
      log: quiet,
      isIdle: () => true,
    });
  }

  #createGovernor(): Governor {
    return new Governor({
      clock: systemClock,
      log: quiet,
      sensors: new Sensors({ sensorsRoot: "/", clock: systemClock }),
      engine: this.engine,
      plan: { contextTokens: 2048, batchTokens: 64, sequences: 4, modelRung: 0, modelReason: "" },
      events: {
        onSample: (sample) => void this.#trace.push(sample),
        onCurve: (curve) => void this.#trace.push({ curve: (this.#curve = curve) }),
      },
    });
  }

  /** Loads the model and calibrates it, unless it comes with a card. */
  static async start(
    options: { card?: CalibrationCard | undefined; scheduling?: "default" } = {},
  ): Promise<GovernorRig> {
    const rig = new GovernorRig();
    if (options.scheduling) process.env["PIPIT_SCHEDULING"] = options.scheduling;
    await rig.engine.start();
    delete process.env["PIPIT_SCHEDULING"];
    const shape = { contextTokens: 2048, batchTokens: 64, sequences: 4 };
    await rig.engine.load({ name: "smollm2", path: modelPath(), kind: "decoder", ...shape, maxThreads: cores });
    await rig.governor.start();
    await rig.calibrator.setSubject({
      name: "smollm2",
      key: { modelSha256: "", cpu: "", library: "" },
      maxThreads: cores,
      sequences: 4,
    });
    rig.card = options.card ?? (await rig.#calibrate());
    return rig;
  }

  /** Waits until the machine is calm, or a minute; says so where it never was. */
  async waitForCalm(): Promise<void> {
    for (let tries = 0; tries < 60; tries++) {
      await sleep(1000);
      if ((this.governor.lookAgain()?.foreignCores ?? 0) < CALM_CORES) return;
    }
    console.log("     (other programs keep this machine busy: what follows is measured beside them)");
  }

  async #calibrate(): Promise<CalibrationCard | undefined> {
    for (let tries = 0; tries < 3; tries++) {
      await this.waitForCalm();
      const card = await this.calibrator.run().catch(() => undefined);
      if (card) return card;
    }
    return undefined;
  }

  async stop(): Promise<void> {
    await this.calibrator.stop();
    await this.governor.stop();
    await this.engine.stop();
  }

  /** Steps and trace of a case begin here. */
  beginTrace(): void {
    this.steps.length = 0;
    this.#trace.length = 0;
    this.#trace.push({ curve: this.#curve });
  }

  /** The trace of the case as text, also in a file where the environment wants it. */
  keepTrace(name: string): string {
    const text = this.#trace.map((entry) => `${traceLine(entry)}\n`).join("");
    const directory = process.env["PIPIT_BENCH_TRACES"];
    if (directory) {
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `${name}.jsonl`), text);
    }
    return text;
  }

  samples(): TraceSample[] {
    return this.#trace.flatMap((entry) => ("readings" in entry ? [entry] : []));
  }

  /** What the case looked like over its time. */
  series(name: string, startMs: number, marks: Record<string, number>): Series {
    const samples = this.samples().filter(({ readings }) => readings.atMs >= startMs);
    const endMs = samples[samples.length - 1]?.readings.atMs ?? startMs;
    const starts = Array.from({ length: Math.floor((endMs - startMs) / SERIES_MS) }, (_, i) => startMs + i * SERIES_MS);
    const at = (ms: number) => samples.find(({ readings }) => readings.atMs >= ms) ?? samples[samples.length - 1];
    const rounded = (value: number) => Math.round(value * 100) / 100;
    return {
      case: name,
      atMs: starts.map((from) => from + SERIES_MS / 2 - startMs),
      lines: {
        "tokens/s": starts.map((from) => rounded(this.speedBetween(from, from + SERIES_MS))),
        threads: starts.map((from) => at(from)?.threads.decode ?? 0),
        "neighbours' cores": starts.map((from) => rounded(at(from)?.readings.foreignCores ?? 0)),
      },
      marks: Object.entries(marks).map(([text, ms]) => ({ atMs: Math.round(ms - startMs), text })),
    };
  }

  /** Tokens a second of the tokens that were written between two moments; prompts read in between do not count. */
  speedBetween(fromMs: number, toMs: number): number {
    const written = this.steps.filter(
      ({ phase, endedMs }) => phase === "decode" && endedMs >= fromMs && endedMs < toMs,
    );
    const ms = written.reduce((sum, step) => sum + step.ms, 0);
    return ms > 0 ? (written.reduce((sum, { tokens }) => sum + tokens, 0) * 1000) / ms : 0;
  }

  /** An answer under the governor. */
  async governed(tokens = TOKENS, signal?: AbortSignal): Promise<Answer> {
    const question = this.governor.forQuestion("normal");
    try {
      return await this.#answer(tokens, { signal });
    } finally {
      question.end();
    }
  }

  /** Answers of `LONG_TOKENS` one after the other until stopped; the last one is cut. */
  answerOn(): { stop: () => Promise<void> } {
    const controller = new AbortController();
    const { signal } = controller;
    const answering = (async () => {
      while (!signal.aborted) {
        await this.governed(LONG_TOKENS, signal).catch((error: unknown) => {
          if (!signal.aborted) throw error;
        });
      }
    })();
    return { stop: () => (controller.abort(), answering) };
  }

  /** An answer on a fixed thread count; only batches on so many count, not those of the fuse. */
  async fixed(threads: number, tokens = TOKENS): Promise<Answer> {
    const release = this.governor.handOver();
    try {
      this.engine.setThreads({ prefill: threads, decode: threads });
      return await this.#answer(tokens, { threads });
    } finally {
      release();
    }
  }

  /**
   * Governed against every fixed count under the same load, in turns that begin with another one each time. The ratio is
   * the median over rounds of the governed answer against the one on the best count, which the medians of all rounds name.
   */
  async against(rounds: number, tokens = TOKENS): Promise<Record<"decode" | "prefill", Compared>> {
    const contestants = [0, ...Array.from({ length: cores }, (_, index) => index + 1)];
    const answers = new Map<number, Answer[]>(contestants.map((threads) => [threads, []]));
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < contestants.length; turn++) {
        const threads = contestants[(round + turn) % contestants.length] ?? 0;
        answers.get(threads)?.push(threads === 0 ? await this.governed(tokens) : await this.fixed(threads, tokens));
      }
    }
    const compared = (phase: "decode" | "prefill"): Compared => {
      const speeds = (threads: number) => (answers.get(threads) ?? []).map((answer) => answer[phase]);
      const medians = new Map(contestants.map((threads) => [threads, median(speeds(threads))]));
      const speed = (threads: number) => medians.get(threads) ?? NaN;
      const threads = contestants.slice(1).reduce((one, other) => (speed(other) > speed(one) ? other : one));
      const ofBest = speeds(threads);
      return {
        ratio: median(speeds(0).map((governed, round) => governed / (ofBest[round] ?? NaN))),
        governed: speed(0),
        best: speed(threads),
        threads,
        fixed: Object.fromEntries(contestants.slice(1).map((count) => [`fixed ${count}`, speed(count)])),
      };
    };
    return { decode: compared("decode"), prefill: compared("prefill") };
  }

  /** A case as the calibration of this machine has it, and without one, when the governor takes two threads to write. */
  async inVariants(run: (variant: Variant) => Promise<void>): Promise<void> {
    for (const variant of VARIANTS) await run(variant);
    await this.afresh(VARIANTS[0]);
  }

  /** A governor that remembers nothing of the rounds before, on a calm machine. */
  async afresh({ calibrated }: Pick<Variant, "calibrated">): Promise<void> {
    await this.waitForCalm();
    await this.governor.stop();
    this.governor = this.#createGovernor();
    this.governor.setCurve(calibrated ? this.card?.curve : undefined);
    await this.governor.start();
    await sleep(FIRST_WINDOW_MS);
  }

  #onStep(step: Step): void {
    this.steps.push({ ...step, endedMs: performance.now() });
    this.governor.onStep(step);
    this.calibrator.onStep(step);
  }

  /** Speeds by the batches themselves, so that an answer that crawls can be cut and still counts. */
  async #answer(
    tokens: number,
    { signal, threads }: { signal?: AbortSignal | undefined; threads?: number } = {},
  ): Promise<Answer> {
    const id = `bench-${++this.#questions}`;
    const turns = [{ role: "user" as const, text: `${this.#questions}.${STORY}` }];
    const first = this.steps.length;
    const cut = AbortSignal.timeout(MOST_ANSWER_MS);
    const either = signal ? AbortSignal.any([signal, cut]) : cut;
    try {
      const pieces = this.engine
        .generate({ id, turns, maxTokens: tokens, temperature: 0 }, either)
        [Symbol.asyncIterator]();
      while (!(await pieces.next()).done);
    } catch (error) {
      if (!cut.aborted) throw error;
    }
    const speed = (phase: Step["phase"]) => {
      const steps = this.steps
        .slice(first)
        .filter((step) => step.phase === phase && (threads === undefined || step.threads === threads));
      const ms = steps.reduce((sum, step) => sum + step.ms, 0);
      return ms > 0 ? (steps.reduce((sum, step) => sum + step.tokens, 0) * 1000) / ms : 0;
    };
    return { decode: speed("decode"), prefill: speed("prefill") };
  }
}
