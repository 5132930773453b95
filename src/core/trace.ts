// Traces: what the governor saw and decided, line by line, so that a user's trouble can be replayed and becomes a test.
// A trace is JSONL with snake_case keys: `{"curve": …}` when a calibration took effect, else one sample a line.
import { PipitError } from "./errors.ts";
import type { ThreadPlan } from "./plan.ts";
import { CHANGE_WINDOW_MS, decideThreads } from "./policy.ts";
import type { Readings } from "./readings.ts";
import type { Courtesy } from "./route.ts";
import type { SpeedCurve } from "./speed-curve.ts";
import type { Cause, StepFeedback, ThreadDecision, ThreadState } from "./thread-state.ts";

/** One decision with all it was made from, but for what was remembered, which a replay builds up again. */
export interface TraceSample {
  readings: Readings;
  courtesy: Courtesy;
  feedback: StepFeedback[];
  threads: ThreadPlan;
  cause: Cause;
  reason: string;
}

export type TraceEntry = { curve: SpeedCurve | undefined } | TraceSample;

export interface ReplayedSample {
  readings: Readings;
  decision: ThreadDecision;
  /** What was decided when the trace was recorded. */
  recorded: ThreadPlan;
}

export interface ReplaySummary {
  samples: number;
  seconds: number;
  /** Changes of threads, and the most within a minute. */
  changes: number;
  mostChangesAMinute: number;
  /** Seconds by the number of threads that wrote. */
  secondsAtDecodeThreads: Record<number, number>;
  /** Samples in which today's policy decides otherwise than the one that recorded. */
  different: number;
}

/** One line, without its end. */
export function traceLine(entry: TraceEntry): string {
  if (!("readings" in entry)) return JSON.stringify({ curve: entry.curve ?? null });
  const { readings, courtesy, feedback, threads, cause, reason } = entry;
  return JSON.stringify(renamed({ readings, courtesy, feedback, threads, cause, reason }, snakeCase));
}

/** @throws PipitError `bad_trace` (kind `config`) naming the first line that is none. */
export function parseTrace(text: string): TraceEntry[] {
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    try {
      return [entryOf(renamed(JSON.parse(line), camelCase))];
    } catch (cause) {
      throw new PipitError("config", "bad_trace", `line ${index + 1} is no line of a trace`, { cause });
    }
  });
}

/** Runs today's policy over the recorded readings, from a fresh memory. */
export function replay(entries: readonly TraceEntry[]): ReplayedSample[] {
  const states = new Map<Courtesy, ThreadState>();
  let curve: SpeedCurve | undefined;
  const samples: ReplayedSample[] = [];
  for (const entry of entries) {
    if (!("readings" in entry)) {
      curve = entry.curve;
      continue;
    }
    const { readings, courtesy, feedback, threads } = entry;
    const state = states.get(courtesy);
    const decision = decideThreads({ readings, courtesy, feedback, curve, ...(state && { state }) });
    states.set(courtesy, decision.state);
    samples.push({ readings, decision, recorded: threads });
  }
  return samples;
}

export function summarise(samples: readonly ReplayedSample[]): ReplaySummary {
  const changesMs: number[] = [];
  const secondsAtDecodeThreads: Record<number, number> = {};
  let different = 0;
  for (const [index, { readings, decision, recorded }] of samples.entries()) {
    const previous = samples[index - 1];
    if (previous && !same(previous.decision.threads, decision.threads)) changesMs.push(readings.atMs);
    if (!same(decision.threads, recorded)) different++;
    const seconds = ((samples[index + 1]?.readings.atMs ?? readings.atMs) - readings.atMs) / 1000;
    const { decode } = decision.threads;
    secondsAtDecodeThreads[decode] = (secondsAtDecodeThreads[decode] ?? 0) + seconds;
  }
  const within = (from: number) => changesMs.filter((at) => at >= from && at < from + CHANGE_WINDOW_MS).length;
  const first = samples[0]?.readings.atMs ?? 0;
  return {
    samples: samples.length,
    seconds: ((samples[samples.length - 1]?.readings.atMs ?? first) - first) / 1000,
    changes: changesMs.length,
    mostChangesAMinute: Math.max(0, ...changesMs.map(within)),
    secondsAtDecodeThreads,
    different,
  };
}

function same(a: ThreadPlan, b: ThreadPlan): boolean {
  return a.prefill === b.prefill && a.decode === b.decode;
}

const NUMBERS = ["atMs", "windowMs", "affinityCores", "allowedCores", "foreignCores"] as const;

function entryOf(value: unknown): TraceEntry {
  if (!isRecord(value)) throw new TypeError("not an object");
  if ("curve" in value) return { curve: (value["curve"] as SpeedCurve | null) ?? undefined };
  const { readings, courtesy, threads } = value;
  if (!isRecord(readings) || !NUMBERS.every((key) => typeof readings[key] === "number"))
    throw new TypeError("readings");
  if (courtesy !== "low" && courtesy !== "normal" && courtesy !== "high") throw new TypeError("courtesy");
  if (!isRecord(threads) || typeof threads["decode"] !== "number" || typeof threads["prefill"] !== "number") {
    throw new TypeError("threads");
  }
  const feedback = Array.isArray(value["feedback"]) ? value["feedback"] : [];
  return { ...value, feedback } as unknown as TraceSample;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const snakeCase = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camelCase = (key: string) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** Renames all keys and rounds all numbers: microseconds and thousandths of a core are noise. */
function renamed(value: unknown, rename: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((one) => renamed(one, rename));
  if (!isRecord(value)) return typeof value === "number" ? Math.round(value * 1000) / 1000 : value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [rename(key), renamed(one, rename)]));
}
