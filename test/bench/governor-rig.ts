// The engine and the governor as the agent joins them, without the bus: what the governor's benchmarks measure.
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { Calibrator } from "../../src/work/calibrator.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { CalibrationCard } from "../../src/core/calibration.ts";
import type { Logger, Step } from "../../src/core/ports.ts";
import { type TraceEntry, traceLine } from "../../src/core/trace.ts";
import { Sensors } from "../../src/device/sensors.ts";
import { ChildEngine } from "../../src/engine/child-engine.ts";
import { Governor } from "../../src/work/governor.ts";
import { median } from "./bench.ts";

export const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet };

export interface Answer {
  decodeTokensPerSecond: number;
  prefillTokensPerSecond: number;
}

export interface TimedStep extends Step {
  endedMs: number;
}

const TOKENS = 64;
const CALM_CORES = 0.2;
/** Too many threads beside a hog write a token in seconds: what was written until then is enough to know the speed. */
const MOST_ANSWER_MS = 8000;
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
  readonly governor: Governor;
  readonly calibrator: Calibrator;
  readonly steps: TimedStep[] = [];
  readonly trace: TraceEntry[] = [];
  card: CalibrationCard | undefined;
  #questions = 0;

  private constructor() {
    const clock = systemClock;
    this.engine = new ChildEngine({ nice: 0 }, { onStep: (step) => this.#onStep(step) }, quiet, clock);
    this.governor = new Governor({
      clock,
      log: quiet,
      sensors: new Sensors({ sensorsRoot: "/", clock }),
      engine: this.engine,
      plan: { contextTokens: 2048, batchTokens: 64, sequences: 4, modelRung: 0 },
      events: {
        onSample: (sample) => void this.trace.push(sample),
        onCurve: (curve) => void this.trace.push({ curve }),
      },
    });
    this.calibrator = new Calibrator({
      engine: this.engine,
      governor: this.governor,
      cards: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
      clock,
      log: quiet,
      isIdle: () => true,
    });
  }

  /** Loads the model and calibrates it. */
  static async start(): Promise<GovernorRig> {
    const rig = new GovernorRig();
    await rig.engine.start();
    const shape = { contextTokens: 2048, batchTokens: 64, sequences: 4 };
    await rig.engine.load({ name: "smollm2", path: modelPath(), kind: "decoder", ...shape, maxThreads: cores });
    await rig.governor.start();
    await rig.calibrator.setSubject({
      name: "smollm2",
      key: { modelSha256: "", cpu: "", library: "" },
      maxThreads: cores,
      sequences: 4,
    });
    rig.card = await rig.#calibrate();
    return rig;
  }

  /** Waits until the machine is calm, or a minute; says so where it never was. */
  async waitForCalm(): Promise<void> {
    for (let tries = 0; tries < 30; tries++) {
      await sleep(2000);
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

  /** The trace so far as text, and a new one from here, which begins with the curve. */
  takeTrace(): string {
    const text = this.trace.splice(0).map((entry) => `${traceLine(entry)}\n`);
    if (this.card) this.trace.push({ curve: this.card.curve });
    return text.join("");
  }

  /** An answer under the governor. */
  async governed(tokens = TOKENS, signal?: AbortSignal): Promise<Answer> {
    const question = this.governor.forQuestion("normal");
    try {
      return await this.#answer(tokens, signal);
    } finally {
      question.end();
    }
  }

  /** An answer on a fixed thread count. */
  async fixed(threads: number, tokens = TOKENS): Promise<Answer> {
    const release = this.governor.handOver();
    try {
      this.engine.setThreads({ prefill: threads, decode: threads });
      return await this.#answer(tokens);
    } finally {
      release();
    }
  }

  /**
   * Governed against every fixed count under the same load, in turns; the ratio is the median over rounds of the governed
   * answer against the best fixed count of all rounds.
   */
  async against(
    rounds: number,
  ): Promise<Record<"decode" | "prefill", { governed: number; best: number; threads: number }>> {
    const fixed = new Map<number, Answer[]>();
    const governed: Answer[] = [];
    for (let round = 0; round < rounds; round++) {
      for (let threads = 1; threads <= cores; threads++) {
        const answers = fixed.get(threads) ?? [];
        answers.push(await this.fixed(threads));
        fixed.set(threads, answers);
      }
      governed.push(await this.governed());
    }
    const summary = (key: "decodeTokensPerSecond" | "prefillTokensPerSecond") => {
      const speeds = [...fixed].map(([threads, answers]) => ({
        threads,
        best: median(answers.map((one) => one[key])),
      }));
      const best = speeds.reduce((one, other) => (other.best > one.best ? other : one));
      return { governed: median(governed.map((one) => one[key])), ...best };
    };
    return { decode: summary("decodeTokensPerSecond"), prefill: summary("prefillTokensPerSecond") };
  }

  #onStep(step: Step): void {
    this.steps.push({ ...step, endedMs: performance.now() });
    this.governor.onStep(step);
    this.calibrator.onStep(step);
  }

  /** Speeds by the batches themselves, so that an answer that crawls can be cut and still counts. */
  async #answer(tokens: number, signal?: AbortSignal): Promise<Answer> {
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
      const steps = this.steps.slice(first).filter((step) => step.phase === phase);
      const ms = steps.reduce((sum, step) => sum + step.ms, 0);
      return ms > 0 ? (steps.reduce((sum, step) => sum + step.tokens, 0) * 1000) / ms : 0;
    };
    return { decodeTokensPerSecond: speed("decode"), prefillTokensPerSecond: speed("prefill") };
  }
}
