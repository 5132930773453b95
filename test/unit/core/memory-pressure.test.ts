import { describe, expect, it } from "vitest";
import { bytesLeft, type Growth, growthOf, pressureOf } from "../../../src/core/memory-pressure.ts";
import type { Readings } from "../../../src/core/readings.ts";
import { readingsOf } from "../../fakes/board.ts";

const MIB = 1024 * 1024;
const board = (availableMib: number, part: Partial<Readings> = {}) =>
  readingsOf({ memoryTotalBytes: 512 * MIB, memoryAvailableBytes: availableMib * MIB, ...part });
const child = (part: Partial<NonNullable<Readings["child"]>> = {}) => ({
  child: { rssBytes: 250 * MIB, anonymousBytes: 150 * MIB, fileBytes: 100 * MIB, majorFaultsPerSecond: 0, ...part },
});
const pressure = (readings: Readings, more: { growth?: Growth; tokensPerSecond?: number } = {}) =>
  pressureOf({ readings, needBytes: 250 * MIB, ...more });

describe("pressure", () => {
  it("is none on a board with room", () => {
    expect(pressure(board(400, child()))).toBeUndefined();
  });

  it.each([
    ["little is left", board(20, child()), "only 20 MiB of memory are left", true],
    ["the plan no longer fits", board(80, child()), "the model needs 250 MiB, 214 MiB are left for it", false],
    [
      "weights are evicted",
      board(400, child({ majorFaultsPerSecond: 500 })),
      "the kernel evicts the model's weights and reads them again",
      false,
    ],
    ["programs stand still", board(400, { ...child(), pressure: { memoryFull: 12 } }), "12 % of the time", false],
  ])("is seen when %s", (_, readings, why, emergency) => {
    const found = pressure(readings);
    expect(found?.why).toContain(why);
    expect(found?.emergency).toBe(emergency);
  });

  it("counts major faults by the token: few in a second are many where a second holds few tokens", () => {
    const readings = board(400, child({ majorFaultsPerSecond: 100 }));
    expect(pressure(readings, { tokensPerSecond: 80 })).toBeUndefined();
    expect(pressure(readings, { tokensPerSecond: 2 })?.why).toContain("50 times a token");
  });

  it("counts mapped weights of a group as still to be had, because the kernel drops them before it kills", () => {
    const groupMemory = { limitBytes: 384 * MIB, headroomBytes: 5 * MIB, mappedBytes: 90 * MIB };
    expect(bytesLeft(board(4000, { groupMemory }))).toBe(95 * MIB);
    expect(pressure(board(4000, { groupMemory, ...child() }))?.emergency).toBe(false);
  });
});

describe("growth of other programs", () => {
  const after = (availableMib: number[], anonymousMib: number[] = []) => {
    let growth: Growth | undefined;
    for (const [index, mib] of availableMib.entries()) {
      const part = { ...child({ anonymousBytes: (anonymousMib[index] ?? 150) * MIB }), atMs: index * 2000 };
      growth = growthOf(growth, board(mib, part));
    }
    return growth as Growth;
  };

  it("is seen ahead of its end when it goes on, but not when a program has only started", () => {
    expect(pressure(board(120, child()), { growth: after([200, 160, 120]) })).toMatchObject({
      why: "other programs take 20 MiB a second, 120 MiB are left",
      emergency: true,
    });
    expect(after([200, 120, 120]).bytesPerSecond).toBe(0);
    expect(after([200, 200, 120]).bytesPerSecond).toBe(0);
  });

  it("does not count what the model's own process takes", () => {
    expect(after([300, 250, 200], [50, 100, 150]).bytesPerSecond).toBe(0);
  });
});
