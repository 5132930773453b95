// From what a decoder thinks of each label's words to an answer one can act on: probabilities, margin, abstention.
// Pure arithmetic over natural logarithms. A small model prefers some labels whatever the text says; both calibrations
// below take that preference away (measured with SmolLM2-135M, 8 labels, 8 examples each: raw 0.78, content-free 0.82,
// running batch 0.85).
import { RequestError } from "./errors.ts";
import type { Label } from "./route.ts";

export const MAX_LABELS = 64;
export const MAX_LABEL_CHARACTERS = 200;

/** As `Scores.logProbabilities` gives them: the sum over a label's tokens, and how many these are. */
export interface LogProbability {
  sum: number;
  tokens: number;
}

export interface LabelDecision {
  /** The answer; null when the decision abstains and no abstain label is configured. */
  label: string | null;
  /** The most probable label, also when the decision abstains. */
  best: string;
  /** Probability of `best`. */
  confidence: number;
  /** `confidence` minus the probability of the runner-up; 1 with a single label. */
  margin: number;
  probabilities: Record<string, number>;
  abstained: boolean;
}

export interface DecisionRule {
  /** Abstain when the best label is less probable than this; 0 never abstains. */
  threshold?: number;
  /** Given instead of null when the decision abstains, for instance `unknown`. */
  abstainLabel?: string;
}

/** Labels a request or a route gives: 1 to 64, none empty, none twice. Throws `bad_request` with what is wrong. */
export function checkLabels(labels: readonly Label[], field = "labels"): void {
  if (labels.length === 0) throw new RequestError("bad_request", `${field} is empty: give 1 to ${MAX_LABELS} labels`);
  if (labels.length > MAX_LABELS) {
    throw new RequestError("bad_request", `${field} has ${labels.length} labels, the most is ${MAX_LABELS}`);
  }
  const seen = new Set<string>();
  for (const [index, { name }] of labels.entries()) {
    if (name.trim() === "") throw new RequestError("bad_request", `${field}[${index}] is empty`);
    if (name.length > MAX_LABEL_CHARACTERS) {
      const length = `${name.length} characters, the most is ${MAX_LABEL_CHARACTERS}`;
      throw new RequestError("bad_request", `${field}[${index}] has ${length}`);
    }
    if (seen.has(name)) throw new RequestError("bad_request", `${field} has ${JSON.stringify(name)} twice`);
    seen.add(name);
  }
}

/** Mean log-probability of a token of each label, so that a label of three tokens can win against one of one. */
export function lengthNormalised(scores: readonly LogProbability[]): number[] {
  return scores.map(({ sum, tokens }) => sum / Math.max(1, tokens));
}

/** Probabilities in the order of the logits; a higher temperature flattens them. */
export function softmax(logits: readonly number[], temperature = 1): number[] {
  const highest = Math.max(...logits);
  if (!Number.isFinite(highest)) return logits.map(() => 1 / logits.length);
  const weights = logits.map((logit) => Math.exp((logit - highest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** Log of the softmax: label scores as log-probabilities among these labels alone. */
export function logSoftmax(logits: readonly number[]): number[] {
  const highest = Math.max(...logits);
  if (!Number.isFinite(highest)) return logits.map(() => -Math.log(logits.length));
  const logTotal = highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
  return logits.map((logit) => logit - logTotal);
}

/** What the model prefers before it has read anything: the mean of its scores for several texts without content. */
export function contentFreePrior(rows: readonly (readonly LogProbability[])[]): number[] {
  const priors = rows.map((row) => logSoftmax(lengthNormalised(row)));
  const width = priors[0]?.length ?? 0;
  return Array.from({ length: width }, (_, label) => mean(priors.map((prior) => prior[label] ?? 0)));
}

/**
 * The running prior of one set of labels: the content-free prior at first, then more and more the mean score of the
 * messages really seen. A label that every message scores high says nothing about any of them.
 */
export class LabelPrior {
  readonly #contentFree: readonly number[];
  readonly #window: number;
  readonly #trust: number;
  #recent: number[][] = [];

  /**
   * `window` messages are remembered. The content-free prior weighs as much as `trust` messages, so that the first
   * few, which may all be of one label, do not turn the prior against that label.
   */
  constructor(contentFree: readonly number[], options: { window?: number; trust?: number } = {}) {
    this.#contentFree = contentFree;
    this.#window = options.window ?? 128;
    this.#trust = options.trust ?? 16;
  }

  get seen(): number {
    return this.#recent.length;
  }

  get logPrior(): number[] {
    const weight = this.#trust + this.#recent.length;
    return this.#contentFree.map((start, label) => {
      const sum = this.#recent.reduce((total, row) => total + (row[label] ?? 0), 0);
      return (this.#trust * start + sum) / weight;
    });
  }

  /** Scores with the preference taken away. The message itself is not part of the prior it is judged by. */
  calibrate(scores: readonly LogProbability[]): number[] {
    const prior = this.logPrior;
    return logSoftmax(lengthNormalised(scores)).map((score, label) => score - (prior[label] ?? 0));
  }

  /** Adds the scores of a message to what has been seen. */
  observe(scores: readonly LogProbability[]): void {
    this.#recent.push(logSoftmax(lengthNormalised(scores)));
    if (this.#recent.length > this.#window) this.#recent.shift();
  }
}

/** The best label, or an abstention below the threshold. `probabilities` in the order of `labels`. */
export function decide(
  labels: readonly string[],
  probabilities: readonly number[],
  rule: DecisionRule = {},
): LabelDecision {
  let bestIndex = 0;
  let second = 0;
  for (const [index, probability] of probabilities.entries()) {
    if (index === 0) continue;
    const leader = probabilities[bestIndex] ?? 0;
    if (probability > leader) {
      second = leader;
      bestIndex = index;
    } else if (probability > second) second = probability;
  }
  const best = labels[bestIndex] ?? "";
  const confidence = probabilities[bestIndex] ?? 0;
  const abstained = confidence < (rule.threshold ?? 0);
  return {
    label: abstained ? (rule.abstainLabel ?? null) : best,
    best,
    confidence,
    margin: confidence - second,
    probabilities: Object.fromEntries(labels.map((label, index) => [label, probabilities[index] ?? 0])),
    abstained,
  };
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
