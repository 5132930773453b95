import { resolve } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { decideRung } from "../../../src/core/ladder.ts";
import { memoryBudget } from "../../../src/core/memory-plan.ts";
import { decideThreads } from "../../../src/core/policy.ts";
import type { Readings } from "../../../src/core/readings.ts";
import { cpuName, repackedTypes } from "../../../src/device/inventory.ts";
import { Sensors } from "../../../src/device/sensors.ts";
import { FakeClock } from "../../fakes/clock.ts";

const root = (board: string) => resolve(import.meta.dirname, "../../fixtures/boards", board);
const CHILD = 845;
let sensors: Sensors | undefined;
afterEach(() => sensors?.stop());

async function read(board: string): Promise<Readings> {
  const clock = new FakeClock();
  sensors = new Sensors({ sensorsRoot: root(board), clock });
  sensors.watchChild(CHILD);
  sensors.read();
  await sensors.stop(); // vcgencmd has answered
  clock.advance(2000);
  return sensors.read();
}

const plan = (readings: Readings) => decideThreads({ readings, courtesy: "normal" });

describe("a Raspberry Pi Zero 2 W", () => {
  it("is planned for without PSI and memory groups", async () => {
    const readings = await read("pi-zero-2w");
    expect(readings).toMatchObject({ coreCount: 4, allowedCores: 4, frequencyRatio: 1 });
    expect(readings.temperatureC).toBe(62.838);
    expect(readings.memoryTotalBytes / 2 ** 20).toBeCloseTo(427.2, 0);
    expect(readings).not.toHaveProperty("pressure");
    expect(readings).not.toHaveProperty("groupMemory");
    expect(plan(readings)).toMatchObject({ threads: { prefill: 4, decode: 2 }, cause: "calm" });
    expect(repackedTypes(root("pi-zero-2w"))).toEqual([]);
  });
});

describe("a Raspberry Pi 4", () => {
  it("has its group's limit read and its supply voltage noticed", async () => {
    const readings = await read("pi-4");
    expect(readings.groupMemory).toEqual({
      limitBytes: 536_870_912,
      headroomBytes: 536_870_912 - 331_350_016 + (190_840_832 - 145_752_064) + 3_145_728,
      mappedBytes: 145_752_064,
      oomKills: 0,
    });
    expect(readings.child?.rssBytes).toBe(240_000 * 1024);
    expect(readings.throttle).toMatchObject({ underVoltage: true, throttled: true });
    expect(readings.pressure).toEqual({ cpuSome: 3.1, memorySome: 0, memoryFull: 0 });
    expect(plan(readings).reason).toBe("2 threads: the supply voltage is too low, use a stronger power supply");
  });
});

describe("a Raspberry Pi 5", () => {
  it("obeys the quota of the slice above its service, and repacks weights", async () => {
    const readings = await read("pi-5");
    expect(readings).toMatchObject({ affinityCores: 4, allowedCores: 2.5, quotaCores: 2.5 });
    expect(readings.throttle).toMatchObject({ underVoltage: false, throttled: false });
    expect(plan(readings)).toMatchObject({ threads: { prefill: 2, decode: 2 }, cause: "quota" });
    expect(repackedTypes(root("pi-5"))).toContain("Q4_0");
    expect(cpuName(root("pi-5"))).toBe("Raspberry Pi 5 Model B Rev 1.0 x4");
  });
});

describe("an RK3588 board", () => {
  it("counts only its pinned cluster and is capped by its hottest sensor", async () => {
    const readings = await read("rk3588");
    expect(readings).toMatchObject({ coreCount: 8, affinityCores: 4, allowedCores: 4, temperatureC: 83.23 });
    expect(readings.frequencyRatio).toBeCloseTo(1608 / 2256);
    expect(plan(readings)).toMatchObject({ threads: { prefill: 2, decode: 2 }, cause: "heat" });
  });
});

describe("an RK3588 board with the vendor's kernel", () => {
  it("has its limits read from version 1 of the control groups, without PSI", async () => {
    const readings = await read("rk3588-vendor");
    expect(readings).toMatchObject({ affinityCores: 4, allowedCores: 3, quotaCores: 3, oomKills: 2 });
    expect(readings.groupMemory).toEqual({
      limitBytes: 402_653_184,
      headroomBytes: 402_653_184 - 331_350_016 + (190_840_832 - 145_752_064),
      mappedBytes: 145_752_064,
      oomKills: 2,
    });
    expect(readings).not.toHaveProperty("pressure");
    expect(plan(readings)).toMatchObject({ threads: { prefill: 3, decode: 2 }, cause: "quota" });
  });
});

describe("SmolLM2 on each of the boards", () => {
  const model = {
    architecture: "llama",
    fileBytes: 98_362_432,
    contextTokens: 8192,
    embeddingSize: 576,
    kvHeadsByLayer: Array.from({ length: 30 }, () => 3),
    keyLength: 64,
    valueLength: 64,
    vocabularyTokens: 49_152,
    bytesByType: {},
  };
  const wanted = { contextTokens: 2048, batchTokens: 64, sequences: 2 };

  it.each([
    ["pi-zero-2w", 1024, 1],
    ["pi-4", 2048, 2],
    ["pi-5", 2048, 2],
    ["rk3588", 2048, 2],
    ["rk3588-vendor", 2048, 1],
  ])("of %s is planned by what that board has left: %d tokens, %d at once", async (board, contextTokens, sequences) => {
    const readings = await read(board);
    const memory = { model, kind: "decoder" as const, repackedTypes: repackedTypes(root(board)), wanted };
    const { plan: planned } = decideRung({ rungs: [{ name: "smollm2", memory }], readings });
    expect(planned).toMatchObject({ contextTokens, sequences, fits: true });
    expect(planned?.predictedRssBytes).toBeLessThanOrEqual(memoryBudget(readings));
  });
});
