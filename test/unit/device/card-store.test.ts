import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { CalibrationCard } from "../../../src/core/calibration.ts";
import { CardStore } from "../../../src/device/card-store.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pipit-cards-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const card = (cpu: string, speed: number): CalibrationCard => ({
  key: { modelSha256: "ab", cpu, library: "3" },
  model: "tiny",
  measuredAt: "2026-11-24T02:00:00.000Z",
  tookMs: 1,
  curve: { prefill: { 1: speed }, decode: { 1: speed } },
  batching: [],
});

it("gives back the card of the same model, CPU and library, and the newest of them", async () => {
  const store = new CardStore(join(directory, "cards"));
  await store.save(card("a", 1));
  await store.save(card("b", 2));
  await store.save(card("a", 3));
  expect((await store.load(card("a", 0).key))?.curve.decode[1]).toBe(3);
  expect((await store.load(card("b", 0).key))?.curve.decode[1]).toBe(2);
  expect(await store.load(card("c", 0).key)).toBeUndefined();
  expect(readdirSync(join(directory, "cards")).every((name) => name.endsWith(".json"))).toBe(true);
});

it("reads a damaged card as none", async () => {
  const store = new CardStore(directory);
  await store.save(card("a", 1));
  writeFileSync(join(directory, readdirSync(directory)[0] ?? ""), '{"model": "ti');
  expect(await store.load(card("a", 0).key)).toBeUndefined();
});
