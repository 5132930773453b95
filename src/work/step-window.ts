// The batches of the last seconds, boiled down to what the thread policy judges: medians by phase and thread count.
import type { Step } from "../core/ports.ts";
import type { StepFeedback } from "../core/thread-state.ts";

/** Long enough to hold two slow steps of a fused engine (one a second), short enough to forget calm times. */
const WINDOW_MS = 2500;
/** Shorter pieces of a prompt cost more a token than the calibration's full batches. */
const LEAST_PREFILL_TOKENS = 16;

export class StepWindow {
  #steps: (Step & { atMs: number })[] = [];

  add(step: Step, atMs: number): void {
    // Several sequences in one batch have another price a token than the curve of a single one.
    const comparable = step.phase === "decode" ? step.tokens === 1 : step.tokens >= LEAST_PREFILL_TOKENS;
    if (comparable) this.#steps.push({ ...step, atMs });
    this.#forget(atMs);
  }

  feedback(nowMs: number): StepFeedback[] {
    this.#forget(nowMs);
    const groups = new Map<string, { phase: Step["phase"]; threads: number; costs: number[] }>();
    for (const { phase, threads, tokens, ms } of this.#steps) {
      const key = `${phase} ${threads}`;
      const group = groups.get(key) ?? { phase, threads, costs: [] };
      group.costs.push(ms / tokens);
      groups.set(key, group);
    }
    return [...groups.values()].map(({ phase, threads, costs }) => ({
      phase,
      threads,
      msPerToken: median(costs),
      steps: costs.length,
    }));
  }

  clear(): void {
    this.#steps = [];
  }

  #forget(nowMs: number): void {
    const first = this.#steps.findIndex(({ atMs }) => nowMs - atMs < WINDOW_MS);
    this.#steps = first < 0 ? [] : this.#steps.slice(first);
  }
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
