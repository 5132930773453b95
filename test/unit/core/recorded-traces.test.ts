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
    expect(samples.length).toBeGreaterThan(20);
    for (const { readings, decision } of samples) {
      const { prefill, decode } = decision.threads;
      expect(Math.min(prefill, decode)).toBeGreaterThanOrEqual(1);
      expect(Math.max(prefill, decode)).toBeLessThanOrEqual(Math.max(1, Math.ceil(readings.allowedCores)));
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

it("a cpuset of one core and quotas of up to one have one thread, from the first decision on", () => {
  for (const name of ["cpuset-1", "quota-50", "quota-100"]) {
    const limited = samplesOf(`${name}.jsonl`).filter(({ readings }) => readings.allowedCores <= 1);
    expect(limited.length).toBeGreaterThan(10);
    expect(new Set(limited.map(decodeOf)), name).toEqual(new Set([1]));
  }
});

it("half a core beyond one is for reading with two threads, where the calibration says that helps", () => {
  const limited = samplesOf("quota-150.jsonl").filter(({ readings }) => readings.allowedCores === 1.5);
  const half = limited.slice(Math.floor(limited.length / 2));
  expect(new Set(half.map(({ decision }) => decision.threads))).toEqual(new Set([{ prefill: 2, decode: 1 }]));
});

it("a neighbour that wakes ten times a second meets threads that yield, nearly always", () => {
  for (const name of ["10-hz-neighbour", "10-hz-neighbour-uncalibrated"]) {
    const samples = samplesOf(`${name}.jsonl`).slice(8);
    const yielding = samples.filter(({ decision }) => decision.manners.yielding).length;
    expect(yielding / samples.length, name).toBeGreaterThan(0.9);
  }
});

it("threads beside two hogs on two cores do not yield, for they would starve, but where both share one core for seconds", () => {
  const yielding = samplesOf("2-hogs.jsonl").filter(({ decision }) => decision.manners.yielding);
  expect(yielding.length).toBeLessThanOrEqual(1);
  for (const { readings } of yielding) expect(readings.foreignCores).toBeLessThan(1.1);
});

/** Neighbours use so many cores in a window that certainly shows them. */
const BUSY_CORES = 0.8;
const REACTION_MS = 2000;
const decodeOf = ({ decision }: ReplayedSample) => decision.threads.decode;

it("a crowded board never gets more than one thread", () => {
  expect(Object.keys(summarise(samplesOf("crowded.jsonl")).secondsAtDecodeThreads)).toEqual(["1"]);
});

it.each(["1-hog.jsonl", "2-hogs.jsonl"])("%s: a board of two with busy neighbours stays on one thread", (name) => {
  const samples = samplesOf(name);
  const settled = samples.filter(({ readings }) => readings.atMs - (samples[0]?.readings.atMs ?? 0) > REACTION_MS);
  expect(new Set(settled.map(decodeOf))).toEqual(new Set([1]));
});

it.each(["hog-appears.jsonl", "hog-appears-uncalibrated.jsonl"])(
  "%s: the first reading that shows it takes one of two threads away",
  (name) => {
    const samples = samplesOf(name);
    expect(samples.some((sample) => decodeOf(sample) === 2)).toBe(true);
    const shown = samples.filter(({ readings }) => readings.foreignCores >= BUSY_CORES);
    expect(shown.length).toBeGreaterThan(5);
    expect(new Set(shown.map(decodeOf))).toEqual(new Set([1]));
  },
);

it.each(["hog-leaves.jsonl", "hog-leaves-uncalibrated.jsonl"])(
  "%s: the core is used again within five seconds",
  (name) => {
    const samples = samplesOf(name);
    const gone = samples.findLast(({ readings }) => readings.foreignCores >= BUSY_CORES);
    const back = samples.find(
      (sample) => sample.readings.atMs > (gone?.readings.atMs ?? Infinity) && decodeOf(sample) === 2,
    );
    expect((back?.readings.atMs ?? Infinity) - (gone?.readings.atMs ?? 0)).toBeLessThan(5000);
  },
);

it("a neighbour that works every other second holds one thread for nearly all of the minute", () => {
  const { seconds, secondsAtDecodeThreads } = summarise(samplesOf("bursty.jsonl"));
  expect(seconds).toBeGreaterThan(55);
  expect(secondsAtDecodeThreads[1] ?? 0).toBeGreaterThan(0.9 * seconds);
});
