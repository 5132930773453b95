import { beforeEach, describe, expect, it } from "vitest";
import type { CalibrationCard } from "../../../src/core/calibration.ts";
import { PipitError } from "../../../src/core/errors.ts";
import type { GenerateJob, Logger, Piece } from "../../../src/core/ports.ts";
import type { ThreadPlan } from "../../../src/core/plan.ts";
import type { SpeedCurve } from "../../../src/core/speed-curve.ts";
import { type CalibrationSubject, Calibrator, type CalibratorOptions } from "../../../src/work/calibrator.ts";
import { readingsOf } from "../../fakes/board.ts";
import { FakeClock } from "../../fakes/clock.ts";

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const SUBJECT: CalibrationSubject = {
  name: "tiny",
  key: { modelSha256: "ab".repeat(32), cpu: "Cortex-A76 x4", library: "3.22.1" },
  maxThreads: 4,
  sequences: 2,
};
const DECODE = [0, 32, 34, 29, 27];
const PREFILL = [0, 93, 174, 233, 290];

/** A board of four cores with known speeds; answers take time on the fake clock. */
class Bench {
  clock = new FakeClock();
  cards = new Map<string, CalibrationCard>();
  published: CalibrationCard[] = [];
  curve: SpeedCurve | undefined;
  threads: ThreadPlan = { prefill: 0, decode: 0 };
  foreignCores = 0;
  idle = true;
  slowness = 1;
  runs: string[] = [];
  handedOver = 0;
  /** Called at the start of each answer. */
  onRun: () => void = () => {};
  onProgress: CalibratorOptions["onProgress"];
  readonly #onlyWhenAsked: boolean;
  calibrator: Calibrator;

  constructor(onlyWhenAsked = false) {
    this.#onlyWhenAsked = onlyWhenAsked;
    this.calibrator = this.#create();
  }

  #create(): Calibrator {
    return new Calibrator({
      engine: {
        setThreads: (threads) => void (this.threads = threads),
        generate: (job, signal) => this.generate(job, signal),
      },
      governor: {
        handOver: () => (this.handedOver++, () => void this.handedOver--),
        lookAgain: () => readingsOf({ foreignCores: this.foreignCores }),
        setCurve: (curve) => void (this.curve = curve),
      },
      cards: {
        load: (key) => Promise.resolve(this.cards.get(key.cpu + key.modelSha256)),
        save: (card) => (this.cards.set(card.key.cpu + card.key.modelSha256, card), Promise.resolve()),
      },
      clock: this.clock,
      log,
      isIdle: () => this.idle,
      onlyWhenAsked: this.#onlyWhenAsked,
      onProgress: (...progress) => this.onProgress?.(...progress),
      onCard: (card) => void this.published.push(card),
    });
  }

  async *generate(job: GenerateJob, signal?: AbortSignal): AsyncGenerator<Piece> {
    const { decode: threads } = this.threads;
    this.runs.push(`${threads}`);
    this.onRun();
    await Promise.resolve();
    if (signal?.aborted) throw new PipitError("transient", "aborted", "cancelled", { cause: signal.reason });
    const step = (phase: "prefill" | "decode", tokens: number, speed: number) => {
      const ms = (this.slowness * tokens * 1000) / speed;
      this.clock.advance(ms);
      this.calibrator.onStep({ phase, tokens, threads, ms });
    };
    step("prefill", 64, PREFILL[threads] ?? 1);
    step("prefill", 30, (PREFILL[threads] ?? 1) / 3);
    for (let token = 0; token < job.maxTokens; token++) {
      step("decode", 1, DECODE[threads] ?? 1);
      yield { kind: "text", text: "story" };
    }
  }
}

let bench: Bench;
beforeEach(async () => {
  bench = new Bench();
  await bench.calibrator.setSubject(SUBJECT);
});

/** Until nothing is left that only waits for promises. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("a calibration", () => {
  it("finds the speed of every thread count for reading and writing, and tells governor, disk and broker", async () => {
    const card = await bench.calibrator.run();
    expect(card.curve).toEqual({
      prefill: { 1: 93, 2: 174, 3: 233, 4: 290 },
      decode: { 1: 32, 2: 34, 3: 29, 4: 27 },
    });
    expect(bench.curve).toEqual(card.curve);
    expect(bench.published).toEqual([card]);
    expect([...bench.cards.values()]).toEqual([card]);
    expect(bench.handedOver).toBe(0);
  });

  it("takes its counts up, down and up again, then batches", async () => {
    await bench.calibrator.run();
    expect(bench.runs.slice(0, 12).join("")).toBe("123443211234");
  });

  it("leaves out later passes on a board so slow that the time is up", async () => {
    bench.slowness = 6;
    const card = await bench.calibrator.run();
    expect(bench.runs.length).toBeLessThan(8);
    expect(Object.keys(card.curve.decode)).toEqual(["1", "2", "3", "4"]);
  });

  it("ends before its time whatever the board, once there is a curve", async () => {
    for (const slowness of [1, 2, 3, 4, 5]) {
      bench.slowness = slowness;
      const { tookMs, curve } = await bench.calibrator.run();
      expect(tookMs).toBeLessThanOrEqual(40_000);
      expect(Object.keys(curve.decode)).toHaveLength(4);
    }
  });

  it("says how far it is before each run", async () => {
    const said: string[] = [];
    bench.onProgress = (done, most, { threads, sequences }) => said.push(`${done}/${most} ${threads}x${sequences}`);
    await bench.calibrator.run();
    expect(said[0]).toBe("0/16 1x1");
    expect(said.at(-1)).toBe("15/16 1x2");
  });

  it("is interrupted by a question and goes on where it was", async () => {
    bench.onRun = () => {
      if (bench.runs.length === 3) void bench.calibrator.interrupt();
    };
    await expect(bench.calibrator.run()).rejects.toMatchObject({ code: "calibration_interrupted" });
    expect(bench.handedOver).toBe(0);
    const before = bench.runs.length;
    const card = await bench.calibrator.run();
    expect(bench.runs[before]).toBe("3");
    expect(Object.keys(card.curve.decode)).toHaveLength(4);
  });

  it("is refused by a busy board, in words, and stores nothing", async () => {
    bench.foreignCores = 1;
    await expect(bench.calibrator.run()).rejects.toMatchObject({ code: "board_busy" });
    expect(bench.cards.size).toBe(0);
  });

  it("needs a model", async () => {
    await bench.calibrator.setSubject(undefined);
    await expect(bench.calibrator.run()).rejects.toMatchObject({ code: "model_unavailable" });
  });
});

describe("the first idle time", () => {
  it("is used for a model without a card, and only an idle one", async () => {
    bench.idle = false;
    bench.calibrator.start();
    bench.clock.advance(60_000);
    expect(bench.runs).toHaveLength(0);
    bench.idle = true;
    bench.clock.advance(5000);
    await settle();
    expect(bench.published).toHaveLength(1);
    expect(bench.clock.pending).toBe(0);
  });

  it("is left alone when measuring is for those who ask, until somebody does", async () => {
    bench = new Bench(true);
    await bench.calibrator.setSubject(SUBJECT);
    bench.calibrator.start();
    bench.clock.advance(60_000);
    await settle();
    expect(bench.runs).toEqual([]);
    bench.calibrator.makeDue();
    bench.clock.advance(5000);
    await settle();
    expect(bench.cards.size).toBe(1);
  });

  it("is left alone when the card is there; it serves at once", async () => {
    await bench.calibrator.run();
    const runs = bench.runs.length;
    await bench.calibrator.setSubject({ ...SUBJECT });
    bench.calibrator.start();
    bench.clock.advance(60_000);
    await settle();
    expect(bench.runs).toHaveLength(runs);
    expect(bench.published).toHaveLength(2);
  });

  it("serves a repetition that the schedule asks for", async () => {
    await bench.calibrator.run();
    bench.calibrator.start();
    bench.calibrator.makeDue();
    bench.clock.advance(5000);
    await settle();
    expect(bench.published).toHaveLength(2);
  });

  it("is tried again later when the board was busy", async () => {
    bench.foreignCores = 1;
    bench.calibrator.start();
    bench.clock.advance(5000);
    await settle();
    expect(bench.published).toHaveLength(0);
    bench.foreignCores = 0;
    bench.clock.advance(5000);
    await settle();
    expect(bench.published).toHaveLength(1);
  });

  it("is not waited for after stop", async () => {
    bench.calibrator.start();
    await bench.calibrator.stop();
    expect(bench.clock.pending).toBe(0);
  });
});
