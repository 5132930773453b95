// Limits of real control groups, seen by the sensors while this very process is in them.
import { describe, expect, it } from "vitest";
import { decideThreads } from "../../src/core/policy.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { Readings } from "../../src/core/readings.ts";
import { Sensors } from "../../src/device/sensors.ts";
import { type Limit, underLimit, whyNoGroups } from "../fixtures/control-group.ts";

const why = whyNoGroups();
const MIB = 1024 * 1024;

async function readUnder(limit: Limit): Promise<Readings> {
  return underLimit(limit, [process.pid], async () => {
    const sensors = new Sensors({ sensorsRoot: "/", clock: systemClock });
    const readings = sensors.read();
    await sensors.stop();
    return readings;
  });
}

describe.skipIf(why !== undefined)(`a real control group${why === undefined ? "" : ` (skipped: ${why})`}`, () => {
  it.each([
    [0.5, 0.5, 1],
    [1.5, 1.5, 1],
  ])("with a CPU quota of %d cores allows %d and plans %d thread", async (cores, allowed, threads) => {
    const readings = await readUnder({ kind: "quota", cores });
    expect(readings.allowedCores).toBeCloseTo(Math.min(allowed, readings.affinityCores));
    const calm = { ...readings, foreignCores: 0 };
    expect(decideThreads({ readings: calm, courtesy: "normal" }).threads).toEqual({
      prefill: threads,
      decode: threads,
    });
  });

  it("with a cpuset of one core allows one", async () => {
    const readings = await readUnder({ kind: "cpuset", cpus: "0" });
    expect(readings).toMatchObject({ affinityCores: 1, allowedCores: 1 });
  });

  it("with a memory limit tells limit and headroom", async () => {
    const { groupMemory } = await readUnder({ kind: "memory", bytes: 512 * MIB });
    expect(groupMemory?.limitBytes).toBe(512 * MIB);
    expect(groupMemory?.headroomBytes).toBeGreaterThan(256 * MIB);
    expect(groupMemory?.headroomBytes).toBeLessThanOrEqual(512 * MIB);
  });

  it("is gone and without effect afterwards", async () => {
    const before = new Sensors({ sensorsRoot: "/", clock: systemClock }).read();
    await readUnder({ kind: "quota", cores: 0.25 });
    const after = new Sensors({ sensorsRoot: "/", clock: systemClock }).read();
    expect(after.allowedCores).toBe(before.allowedCores);
  });
});
