// From what a decoder thinks of each label's words to an answer one can act on: probabilities, margin, abstention.
// Pure arithmetic over natural logarithms. A small model prefers some labels whatever the text says; both calibrations
// below take that preference away (home intents, SmolLM2-135M, 8 labels without examples: raw 0.24, content-free 0.56,
// running 0.57; after 8 examples each 0.79, 0.80 and 0.80).
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

/** How the running prior weighs what it has seen; in messages. */
const PRIOR = {
  /** What the content-free prior counts for, in each label. */
  trust: 16,
  /** Messages of one label that are remembered; older ones fade. */
  most: 64,
  /** A label counts for at most `few` messages and `ratio` times what the median label has. */
  few: 4,
  ratio: 2,
} as const;

/** One label that a message rules out altogether shall not be beyond recall. */
const LEAST_LOG = -50;

/**
 * The running prior of one set of labels: the content-free prior at first, then more and more the mean score of the
 * messages really seen. A label that every message scores high says nothing about any of them. Messages are counted by the
 * label they were judged to have and all labels weigh the same, and no label weighs much more than the median one: a
 * thousand messages about the same thing, meant or not, hardly move it. (Home intents without examples, after 200
 * messages of one label, the worst of eight: 0.57 right against 0.40 with the mean of the last 128 messages; 0.57 both
 * in mixed order.) The same messages in the same order give the same prior.
 */
export class LabelPrior {
  readonly #contentFree: readonly number[];
  /** By judged label: messages, and the sum of their scores. */
  readonly #seen: { messages: number; sums: number[] }[];

  constructor(contentFree: readonly number[]) {
    this.#contentFree = contentFree;
    this.#seen = contentFree.map(() => ({ messages: 0, sums: contentFree.map(() => 0) }));
  }

  get logPrior(): number[] {
    const counts = this.#seen.map(({ messages }) => messages).sort((one, other) => one - other);
    const median = counts[Math.floor((counts.length - 1) / 2)] ?? 0;
    const heard = this.#seen.map(({ messages, sums }) => {
      const weight = Math.min(messages, PRIOR.few + PRIOR.ratio * median);
      return { weight, share: messages === 0 ? 0 : weight / messages, sums };
    });
    return this.#contentFree.map((start, label) =>
      mean(
        heard.map(({ weight, share, sums }) => {
          return (PRIOR.trust * start + share * (sums[label] ?? 0)) / (PRIOR.trust + weight);
        }),
      ),
    );
  }

  /** Scores with the preference taken away. The message itself is not part of the prior it is judged by. */
  calibrate(scores: readonly LogProbability[]): number[] {
    const prior = this.logPrior;
    return logSoftmax(lengthNormalised(scores)).map((score, label) => score - (prior[label] ?? 0));
  }

  /** Adds the scores of a message to what has been seen. */
  observe(scores: readonly LogProbability[]): void {
    const calibrated = this.calibrate(scores);
    const cell = this.#seen[calibrated.indexOf(Math.max(...calibrated))];
    if (cell === undefined) return;
    const own = logSoftmax(lengthNormalised(scores));
    const kept = cell.messages < PRIOR.most ? 1 : (PRIOR.most - 1) / PRIOR.most;
    cell.messages = kept * cell.messages + 1;
    cell.sums = cell.sums.map((sum, label) => kept * sum + Math.max(own[label] ?? 0, LEAST_LOG));
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
