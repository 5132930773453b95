import { beforeEach, describe, expect, test } from "vitest";
import type { MemoryNotes } from "../../../src/core/memory-notes.ts";
import type { ModelFile } from "../../../src/core/model-file.ts";
import type { Readings } from "../../../src/core/readings.ts";
import { ModelKeeper, type ModelKeeperOptions, type ModelState } from "../../../src/work/model-keeper.ts";
import { readingsOf } from "../../fakes/board.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeEngine } from "../../fakes/engine.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { drain, Gate } from "../../fixtures/pipeline-agent.ts";

const MIB = 2 ** 20;

function fileOf(name: string, fileBytes = 100 * MIB): ModelFile {
  const shape = {
    architecture: "llama",
    fileBytes,
    contextTokens: 2048,
    embeddingSize: 576,
    kvHeadsByLayer: [3, 3],
    keyLength: 64,
    valueLength: 64,
    vocabularyTokens: 49_152,
    bytesByType: {},
  };
  return { name, path: `${name}.gguf`, sha256: "00", kind: "decoder", shape };
}

function keeping(obtain: (name: string) => Promise<ModelFile>, more: Partial<ModelKeeperOptions> = {}) {
  const [clock, engine, states] = [new FakeClock(), new FakeEngine(), [] as ModelState["state"][]];
  const board = { readings: readingsOf() as Partial<Readings> };
  const plans: { name: string | undefined; rung: number; reason: string; short: boolean }[] = [];
  const options: ModelKeeperOptions = {
    rungs: ["smollm2"],
    kind: "decoder",
    wanted: { contextTokens: 1024, batchTokens: 64, sequences: 1 },
    repackedTypes: [],
    unloadAfterMs: 0,
    obtain,
    readings: () => readingsOf({ ...board.readings, atMs: clock.nowMs() }),
    isIdle: () => true,
    stopQuestions: () => ({ isQuiet: true, quiet: Promise.resolve(), release() {} }),
    notes: { read: () => notes, write: (written) => (notes = written) },
    noteKey: ({ sha256 }) => sha256,
    oneByOne: (load) => load(),
    onPlan: ({ load, rung, reason, short }) => plans.push({ name: load?.spec.name, rung, reason, short }),
    onChange: ({ state }) => states.push(state),
    ...more,
  };
  return { board, clock, plans, states, keeper: new ModelKeeper(options, engine, clock, new FakeLogger()) };
}

let notes: MemoryNotes = { corrections: {}, bars: {} };
beforeEach(() => void (notes = { corrections: {}, bars: {} }));

const never = new AbortController().signal;

describe("the keeper of the model", () => {
  test("lets questions wait while it loads, then names the model", async () => {
    const gate = new Gate();
    const { keeper } = keeping(() => gate.enter().then(() => fileOf("smollm2")));
    keeper.start();
    const [one, other] = [keeper.whenReady(never), keeper.whenReady(never)];
    expect(keeper.state).toEqual({ state: "loading", name: "smollm2", fraction: 0 });
    gate.open();
    expect(await Promise.all([one, other])).toEqual(["smollm2", "smollm2"]);
    expect(keeper.state).toMatchObject({ state: "ready", model: { contextTokens: 1024 } });
  });

  test("lets a question go that was cancelled meanwhile", async () => {
    const { keeper } = keeping(() => new Promise(() => {}));
    keeper.start();
    const controller = new AbortController();
    const waits = keeper.whenReady(controller.signal);
    controller.abort(new Error("expired"));
    await expect(waits).rejects.toThrow("expired");
  });

  test("wants nothing where none is configured", async () => {
    const { keeper } = keeping(() => Promise.reject(new Error("asked for")), { rungs: ["none"] });
    keeper.start();
    await drain();
    expect(keeper.state).toMatchObject({ state: "unloaded", name: "none" });
  });

  test("refuses an encoder in the place of a generative model", async () => {
    const { keeper } = keeping(() => Promise.resolve({ ...fileOf("minilm"), kind: "encoder" }));
    keeper.start();
    await drain();
    await expect(keeper.whenReady(never)).rejects.toThrow(/it is an encoder, not a generative model/);
  });

  test("says why there is no model, and tries again after half a minute, as often as it takes", async () => {
    let there = false;
    const { clock, keeper, states } = keeping(() =>
      there ? Promise.resolve(fileOf("smollm2")) : Promise.reject(new Error("no file")),
    );
    keeper.start();
    for (let time = 0; time < 20; time += 1) {
      await drain();
      await expect(keeper.whenReady(never)).rejects.toMatchObject({
        code: "model_unavailable",
        message: "model smollm2: no file",
      });
      there = time === 18;
      clock.advance(29_999);
      await drain();
      expect(states.filter((state) => state === "failed")).toHaveLength(time + 1);
      clock.advance(1);
      if (there) break;
    }
    await drain();
    expect(await keeper.whenReady(never)).toBe("smollm2");
  });

  test("stops while it waits to try again", async () => {
    const { clock, keeper } = keeping(() => Promise.reject(new Error("no file")));
    keeper.start();
    await drain();
    await keeper.stop();
    await keeper.stop();
    expect(clock.pending).toBe(0);
  });

  test("steps down to the next model that fits, and says so", async () => {
    const sizes: Record<string, number> = { large: 4000 * MIB, small: 100 * MIB };
    const { board, keeper, plans } = keeping((name) => Promise.resolve(fileOf(name, sizes[name])), {
      rungs: ["large", "small", "none"],
    });
    board.readings = { memoryTotalBytes: 1000 * MIB, memoryAvailableBytes: 700 * MIB };
    keeper.start();
    expect(await keeper.whenReady(never)).toBe("small");
    expect(plans).toEqual([
      {
        name: "small",
        rung: 1,
        reason: expect.stringMatching(/^small: 1024 tokens of context/) as string,
        short: true,
      },
    ]);
  });

  test("refuses with the reason when nothing fits", async () => {
    const { board, keeper } = keeping((name) => Promise.resolve(fileOf(name)), { rungs: ["smollm2", "none"] });
    board.readings = { memoryTotalBytes: 200 * MIB, memoryAvailableBytes: 40 * MIB };
    keeper.start();
    await expect(keeper.whenReady(never)).rejects.toMatchObject({ code: "model_unavailable" });
    expect(keeper.state.state).toBe("unloaded");
  });

  test("misses nothing where no model is wanted", async () => {
    const { keeper, plans } = keeping(() => Promise.reject(new Error("nothing to find")), { rungs: ["none"] });
    keeper.start();
    await drain();
    expect(plans).toEqual([{ name: undefined, rung: 0, reason: "none: no model is wanted", short: false }]);
  });

  test("plans by what an earlier life of the daemon has learnt, and learns on", async () => {
    notes = { corrections: { "00": 4000 * MIB }, bars: {} };
    const { board, keeper, plans } = keeping((name) => Promise.resolve(fileOf(name)));
    board.readings = { memoryTotalBytes: 4000 * MIB, memoryAvailableBytes: 3000 * MIB };
    keeper.start();
    await drain();
    expect(keeper.state).toMatchObject({ state: "unloaded", reason: expect.stringContaining("none") as string });
    const reason = expect.stringMatching(/^none: smollm2 does not fit: even 256 tokens/) as string;
    expect(plans).toEqual([{ name: undefined, rung: 1, reason, short: true }]);
    notes = { corrections: {}, bars: {} };
    const other = keeping((name) => Promise.resolve(fileOf(name)));
    other.keeper.start();
    await other.keeper.whenReady(never);
    await drain();
    expect(notes.corrections["00"]).toBeLessThan(0);
  });

  test("remembers a kill by the kernel for the next life of the daemon", async () => {
    const rungs = ["large", "small"];
    const { clock, keeper } = keeping((name) => Promise.resolve(fileOf(name)), { rungs });
    keeper.start();
    await keeper.whenReady(never);
    await drain();
    keeper.noteDeath(true);
    await drain();
    expect(keeper.state.name).toBe("small");
    await keeper.stop();
    const next = keeping((name) => Promise.resolve(fileOf(name)), { rungs });
    next.keeper.start();
    expect(await next.keeper.whenReady(never)).toBe("small");
    expect(notes.bars["decoder"]?.untilWallMs).toBe(clock.wallMs() + 1_800_000);
  });

  test("wakes a sleeping model also for those who only wait until it is settled", async () => {
    const { clock, keeper } = keeping((name) => Promise.resolve(fileOf(name)), { unloadAfterMs: 10_000 });
    keeper.start();
    await keeper.whenReady(never);
    for (let second = 0; second < 20; second += 1) {
      clock.advance(1000);
      await drain();
    }
    expect(keeper.state.state).toBe("unloaded");
    await keeper.whenSettled();
    expect(keeper.state.state).toBe("ready");
    await keeper.stop();
  });

  test("puts the model to sleep after a time without questions, and wakes it for the next one", async () => {
    const { clock, keeper } = keeping((name) => Promise.resolve(fileOf(name)), { unloadAfterMs: 60_000 });
    keeper.start();
    await keeper.whenReady(never);
    for (let second = 0; second < 70; second += 1) {
      clock.advance(1000);
      await drain();
    }
    expect(keeper.state.state).toBe("unloaded");
    expect(await keeper.whenReady(never)).toBe("smollm2");
    await keeper.stop();
  });
});
