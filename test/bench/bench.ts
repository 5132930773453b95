// What a benchmark is: rows measured side by side with an alternative in one run. A row whose baseline is not at hand says
// so and is not a pass.

export interface Row {
  case: string;
  measured: number;
  unit: string;
  /** What the row is held to, in words: `>= 0.95`. Checked against `measured` when it is a comparison. */
  target?: string;
  baseline?: number;
  baseline_name?: string;
  /** What is not in the numbers: how it was measured, why a baseline is absent. */
  note?: string;
  /** What the row was made from, by name, in the unit of the baseline. */
  values?: Record<string, number>;
  /** Which part of the benchmark it belongs to. */
  part?: string;
}

/** Values over the time of a case, for its picture. */
export interface Series {
  case: string;
  part?: string;
  /** Middle of each interval, from the begin of the case. */
  atMs: number[];
  lines: Record<string, number[]>;
  /** What happened, and when. */
  marks: { atMs: number; text: string }[];
}

/** What `--json` keeps. */
export interface Results {
  bench: string;
  machine: string;
  date: string;
  rows: Row[];
  series?: Series[];
}

/** Takes each row and series as soon as it is measured. */
export interface Report {
  (row: Row): void;
  series(series: Series): void;
}

export interface Bench {
  name: string;
  summary: string;
  /** Parts that `--only` can choose from; without them the benchmark is one piece. */
  parts?: readonly string[];
  run(report: Report, only: readonly string[]): Promise<void>;
  /** An SVG of the results, kept beside the JSON. */
  picture?(results: Results): string;
}

/** Whether a row reaches its target; undefined without one. */
export function reaches({ measured, target }: Row): boolean | undefined {
  const [, sign, bound] = /^(<=|>=|<|>)\s*([\d.]+)/.exec(target ?? "") ?? [];
  if (sign === undefined) return undefined;
  const limit = Number(bound);
  if (sign === "<=") return measured <= limit;
  if (sign === ">=") return measured >= limit;
  return sign === "<" ? measured < limit : measured > limit;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear interpolation between the closest ranks; `share` from 0 to 1. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? NaN;
  const above = sorted[Math.ceil(position)] ?? NaN;
  return below === above ? below : below + (above - below) * (position - Math.floor(position));
}
