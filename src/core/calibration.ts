// Calibration: how fast this board runs this model, by threads and by sequences side by side. Pure: which measurements to
// take in which order, and the curve and the card that come out of them. `src/work/calibrator.ts` takes them.
import type { Step } from "./ports.ts";
import type { Phase, SpeedCurve } from "./speed-curve.ts";

/** A curve holds for one model file on one CPU under one version of the native library. */
export interface CalibrationKey {
  modelSha256: string;
  cpu: string;
  library: string;
}

/** One run: `sequences` answers side by side at a thread count. */
export interface SweepRun {
  threads: number;
  sequences: number;
}

/** What one run showed: tokens a second over all its full batches. */
export interface SpeedSample extends SweepRun {
  phase: Phase;
  tokensPerSecond: number;
}

export interface CalibrationCard {
  key: CalibrationKey;
  model: string;
  /** Wall clock, ISO 8601. */
  measuredAt: string;
  tookMs: number;
  curve: SpeedCurve;
  /** Tokens a second in all, written by so many sequences at their best thread count. */
  batching: { sequences: number; threads: number; tokensPerSecond: number }[];
}

/**
 * Every thread count three times, up, down and up, so that warming up or slow drift does not favour one of them; then 2 and
 * 4 answers side by side at every count, the highest first. The first pass alone makes a usable curve.
 */
export function planSweep(maxThreads: number, maxSequences: number): SweepRun[] {
  const counts = Array.from({ length: maxThreads }, (_, index) => index + 1);
  const down = [...counts].reverse();
  const single = (threads: number): SweepRun => ({ threads, sequences: 1 });
  const sideBySide = [2, 4].filter((sequences) => sequences <= maxSequences);
  const batched = down.flatMap((threads) => sideBySide.map((sequences) => ({ threads, sequences })));
  return [...counts.map(single), ...down.map(single), ...counts.map(single), ...batched];
}

/** Runs that a usable curve needs; the rest may be left out when the time is up. */
export function leastRuns(maxThreads: number): number {
  return maxThreads;
}

/**
 * Speeds of one run out of its batches. Batches that a fuse or an eager governor ran on other threads do not count, nor
 * do ends of the prompt, which are too short to be efficient. Tokens by time, not the median batch: a thread more than the
 * board bears shows in the few batches that wait for it, and an answer waits for those too.
 */
export function samplesOf(run: SweepRun, steps: readonly Step[]): SpeedSample[] {
  const longest = Math.max(0, ...steps.filter(({ phase }) => phase === "prefill").map(({ tokens }) => tokens));
  const sizes = { prefill: longest, decode: run.sequences };
  return (["prefill", "decode"] as const).flatMap((phase) => {
    const counted = steps.filter(
      (step) => step.phase === phase && step.threads === run.threads && step.tokens === sizes[phase],
    );
    const ms = counted.reduce((sum, step) => sum + step.ms, 0);
    return ms > 0 ? [{ ...run, phase, tokensPerSecond: (counted.length * sizes[phase] * 1000) / ms }] : [];
  });
}

/** The best of the passes: a disturbance only ever makes a run slower. */
export function curveOf(samples: readonly SpeedSample[]): SpeedCurve {
  const curve: SpeedCurve = { prefill: {}, decode: {} };
  for (const { phase, threads, sequences, tokensPerSecond } of samples) {
    if (sequences !== 1) continue;
    curve[phase][threads] = Math.max(curve[phase][threads] ?? 0, round(tokensPerSecond));
  }
  return curve;
}

export function batchingOf(samples: readonly SpeedSample[]): CalibrationCard["batching"] {
  const best = new Map<number, SpeedSample>();
  for (const sample of samples) {
    if (sample.phase !== "decode") continue;
    if (sample.tokensPerSecond > (best.get(sample.sequences)?.tokensPerSecond ?? 0)) best.set(sample.sequences, sample);
  }
  return [...best.values()]
    .sort((a, b) => a.sequences - b.sequences)
    .map(({ sequences, threads, tokensPerSecond }) => ({
      sequences,
      threads,
      tokensPerSecond: round(tokensPerSecond),
    }));
}

export function sameKey(a: CalibrationKey, b: CalibrationKey): boolean {
  return a.modelSha256 === b.modelSha256 && a.cpu === b.cpu && a.library === b.library;
}

/** The card as it is stored and published: snake_case keys. */
export function cardToWire(card: CalibrationCard): object {
  return {
    model: card.model,
    model_sha256: card.key.modelSha256,
    cpu: card.key.cpu,
    library: card.key.library,
    measured_at: card.measuredAt,
    took_ms: Math.round(card.tookMs),
    tokens_per_second: card.curve,
    batching: card.batching.map(({ sequences, threads, tokensPerSecond }) => ({
      sequences,
      threads,
      tokens_per_second: tokensPerSecond,
    })),
  };
}

/** A stored card, or undefined when it is not one: a damaged card costs a new calibration, nothing else. */
export function cardFromWire(wire: unknown): CalibrationCard | undefined {
  if (!isRecord(wire)) return undefined;
  const { model, model_sha256: modelSha256, cpu, library, measured_at: measuredAt, took_ms: tookMs } = wire;
  const curve = wire["tokens_per_second"];
  if (typeof model !== "string" || typeof modelSha256 !== "string" || typeof cpu !== "string") return undefined;
  if (typeof library !== "string" || typeof measuredAt !== "string" || typeof tookMs !== "number") return undefined;
  if (!isRecord(curve) || !isSpeeds(curve["prefill"]) || !isSpeeds(curve["decode"])) return undefined;
  const batching = (Array.isArray(wire["batching"]) ? wire["batching"] : []).flatMap((row: unknown) => {
    if (!isRecord(row)) return [];
    const { sequences, threads, tokens_per_second: tokensPerSecond } = row;
    if (typeof sequences !== "number" || typeof threads !== "number" || typeof tokensPerSecond !== "number") return [];
    return [{ sequences, threads, tokensPerSecond }];
  });
  const key = { modelSha256, cpu, library };
  return { key, model, measuredAt, tookMs, curve: { prefill: curve["prefill"], decode: curve["decode"] }, batching };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSpeeds(value: unknown): value is Record<number, number> {
  return (
    isRecord(value) &&
    Object.keys(value).length > 0 &&
    Object.entries(value).every(([threads, speed]) => Number(threads) >= 1 && typeof speed === "number" && speed > 0)
  );
}

const round = (value: number) => Math.round(value * 10) / 10;
