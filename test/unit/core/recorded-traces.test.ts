// The policy of today over what boards really lived through.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MOST_CHANGES } from "../../../src/core/policy.ts";
import { parseTrace, replay, type ReplayedSample, summarise } from "../../../src/core/trace.ts";

const DIRECTORY = join(import.meta.dirname, "../../fixtures/traces");
const names = readdirSync(DIRECTORY).filter((name) => name.endsWith(".jsonl"));
const samplesOf = (name: string): ReplayedSample[] => replay(parseTrace(readFileSync(join(DIRECTORY, name), "utf8")));

describe.each(names)("over %s", (name) => {
  const samples = samplesOf(name);

  it("threads stay within the cores, change six times a minute at most, and have a reason", () => {
    expect(samples.length).toBeGreaterThan(50);
    for (const { readings, decision } of samples) {
      const { prefill, decode } = decision.threads;
      expect(Math.min(prefill, decode)).toBeGreaterThanOrEqual(1);
      expect(Math.max(prefill, decode)).toBeLessThanOrEqual(Math.max(1, Math.floor(readings.allowedCores)));
      expect(decision.reason).toMatch(/: ./);
    }
    expect(summarise(samples).mostChangesAMinute).toBeLessThanOrEqual(MOST_CHANGES);
  });

  it("no window had more threads than the cores that neighbours left in it", () => {
    for (const { readings, decision } of samples) {
      const left = Math.max(1, Math.floor(readings.affinityCores - readings.foreignCores + 0.5));
      expect(decision.threads.decode).toBeLessThanOrEqual(left);
    }
  });
});

it("a crowded board never gets more than one thread", () => {
  expect(Object.keys(summarise(samplesOf("crowded.jsonl")).secondsAtDecodeThreads)).toEqual(["1"]);
});
