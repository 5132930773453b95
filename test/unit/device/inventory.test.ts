import { expect, it } from "vitest";
import { cpuName, readInventory, repackedTypes } from "../../../src/device/inventory.ts";

it("names this machine the same every time, with what a calibration depends on", async () => {
  const inventory = await readInventory("/");
  expect(inventory.cores).toBeGreaterThanOrEqual(1);
  expect(inventory.memoryBytes).toBeGreaterThan(2 ** 28);
  expect(inventory.cpu).toMatch(/ x\d+$/);
  expect(inventory.cpu).toBe(cpuName("/"));
  expect(inventory.board.length).toBeGreaterThan(0);
});

it("repacks nothing on a CPU that does not say what it can", () => {
  expect(repackedTypes("/nowhere")).toEqual([]);
});
