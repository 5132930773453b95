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
}

export interface Bench {
  name: string;
  summary: string;
  /** Reports each row as soon as it is measured. */
  run(report: (row: Row) => void): Promise<void>;
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
  return below + (above - below) * (position - Math.floor(position));
}
