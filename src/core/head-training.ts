// Trains a head: discriminant directions, a regularised logistic regression in them, regularisation and temperature by
// cross-validation. The same examples in the same order give the same head, bit for bit. 500 examples of 384 dimensions
// take well under a second, so that each correction can be learnt at once.
import { type Cases, type Discriminant, discriminantOf, featuresOf } from "./discriminant.ts";
import type { Head } from "./head.ts";
import { probabilitiesOf } from "./head.ts";
import { type Coefficients, fitLogistic, type Link, logitsOf } from "./logistic.ts";
import { addScaled, dot, matrix, normalised, type Vector } from "./matrix.ts";

/** A sentence vector and the positions of its labels. */
export interface Case {
  vector: Vector;
  labels: readonly number[];
}

export interface TrainingData {
  labels: readonly string[];
  link: Link;
  examples: readonly Case[];
  /** Vectors of sentences about the labels themselves (`labelSentence`): they teach, but nothing is measured on them. */
  anchors: readonly Case[];
}

export interface TrainedHead extends Head {
  /** A text less similar than this to every example is about something else. */
  scopeThreshold: number;
  regularisation: number;
  validation: Validation;
}

/** What cross-validation found, on examples the head had not seen. */
export interface Validation {
  cases: number;
  accuracy: number;
  /** Mean negative log-likelihood at the chosen temperature. */
  loss: number;
}

const MAX_FOLDS = 4;
/**
 * Of the curvature that the loss has at the start, which falls with the square of the number of labels. The first is taken
 * unless another is clearly better: what few examples say about it is mostly chance.
 */
const REGULARISATIONS = [2, 6, 0.6] as const;
const CLEARLY = 0.9;
/** Cases * labels² above which only the default is tried: the choice is worth little where examples are many. */
const MAX_SEARCH = 200_000;
/**
 * Of the similarity that 95 % of the examples have to their nearest other example; or, where all vectors lie close together
 * as a decoder's do, of the inverse of that distance. Home intents: 97 of 100 other sentences are kept out by the
 * encoder's vectors and about 87 by the decoder's, under 1 of 100 of the home's.
 */
const SCOPE_SHARE = 0.75;

/**
 * What a label's name says, as a sentence of its own: an encoder of sentences reads it better than a bare word. Worth 2 to
 * 4 points of accuracy with 3 examples a label.
 */
export function labelSentence(label: { name: string; description?: string }): string {
  return `this message is about ${label.name}${label.description ? `: ${label.description}` : ""}`;
}

/** Throws RangeError when there is nothing to learn from: no label, or no case at all. */
export function trainHead(data: TrainingData): TrainedHead {
  const count = data.examples.length + data.anchors.length;
  if (data.labels.length === 0 || count === 0) throw new RangeError("a head needs at least one label and one example");
  const search = count * data.labels.length ** 2 <= MAX_SEARCH;
  const trials = REGULARISATIONS.slice(0, search ? undefined : 1).map((strength) => ({
    regularisation: strength / data.labels.length ** 2,
    logits: [] as number[][],
    targets: [] as Float64Array[],
  }));
  for (const held of foldsOf(data)) {
    const inside = new Set(held);
    const kept = data.examples.filter((_, index) => !inside.has(index));
    const tested = casesOf(
      { ...data, anchors: [] },
      held.map((index) => data.examples[index]!),
    );
    const { discriminant, ...problem } = problemOf(casesOf(data, kept), data.link);
    const features = tested.vectors.map((vector) => featuresOf(discriminant, vector));
    let solution: Coefficients | undefined;
    for (const trial of trials) {
      solution = fitLogistic(problem, trial.regularisation, solution);
      trial.logits.push(...features.map((own) => logitsOf(solution!, own)));
      trial.targets.push(...tested.targets);
    }
  }
  const measured = trials.map(({ regularisation, logits, targets }) => {
    const temperature = bestTemperature(data.link, logits, targets);
    const validation = validate(data.link, logits, targets, temperature);
    return { regularisation, temperature, validation };
  });
  const chosen = measured.reduce((best, trial) =>
    trial.validation.loss < CLEARLY * best.validation.loss ? trial : best,
  );
  const { discriminant, ...problem } = problemOf(casesOf(data, data.examples), data.link);
  const coefficients = fitLogistic(problem, chosen.regularisation);
  return {
    labels: [...data.labels],
    link: data.link,
    ...folded(discriminant, coefficients),
    ...chosen,
    scopeThreshold: scopeThresholdOf(data.examples),
  };
}

/** Discriminant and regression are both linear: together they are one weight vector and one bias a label. */
function folded({ centre, directions }: Discriminant, coefficients: Coefficients): Pick<Head, "weights" | "bias"> {
  const weights = coefficients.map((own) => {
    const sum = new Float64Array(centre.length);
    for (const [index, direction] of directions.entries()) addScaled(sum, direction, own[index]!);
    return sum;
  });
  const bias = coefficients.map((own, label) => own.at(-1)! - dot(weights[label]!, centre));
  return { weights: weights.map((own) => Float32Array.from(own)), bias };
}

function casesOf({ labels, link, anchors }: TrainingData, examples: readonly Case[]): Cases {
  const all = [...examples, ...anchors];
  const targets = matrix(all.length, labels.length);
  for (const [index, { labels: right }] of all.entries()) for (const label of right) targets[index]![label] = 1;
  return {
    vectors: all.map(({ vector }) => normalised(vector)),
    targets,
    weights: new Float64Array(all.length).fill(1),
    exclusive: link === "softmax",
  };
}

function problemOf(cases: Cases, link: Link) {
  const { targets, weights } = cases;
  return { ...discriminantOf(cases), targets, weights, link };
}

/**
 * Positions of the examples to hold out, fold by fold: each label's examples are dealt in turn. An example whose label
 * would be left with nothing to learn from is never held out.
 */
function foldsOf({ labels, examples, anchors }: TrainingData): number[][] {
  const anchored = new Set(anchors.flatMap((anchor) => anchor.labels));
  const folds: number[][] = Array.from({ length: MAX_FOLDS }, () => []);
  // Examples of several labels are dealt by their first; those of none (multi-label) after the others.
  for (let label = -1; label < labels.length; label++) {
    const own = [...examples.keys()].filter((index) => (examples[index]!.labels[0] ?? -1) === label);
    if (own.length < 2 && !anchored.has(label)) continue;
    for (const [turn, index] of own.entries()) folds[turn % MAX_FOLDS]!.push(index);
  }
  return folds.filter((fold) => fold.length > 0);
}

/**
 * The temperature of least loss. One more mistake is counted than was made, on the case that came nearest to one (the
 * rule of succession): without it, examples without any mistake would make the head sure of everything.
 */
function bestTemperature(link: Link, logits: readonly number[][], targets: readonly Float64Array[]): number {
  if (logits.length === 0) return 1;
  const mistake = likeliestMistake(link, logits, targets);
  const loss = (exponent: number) =>
    lossAt(link, [...logits, mistake.logits], [...targets, mistake.targets], Math.exp(exponent));
  // Golden section: the loss has one valley over the logarithm of the temperature.
  const ratio = (Math.sqrt(5) - 1) / 2;
  let low = Math.log(0.01);
  let high = Math.log(100);
  for (let step = 0; step < 25; step++) {
    const left = high - ratio * (high - low);
    const right = low + ratio * (high - low);
    if (loss(left) < loss(right)) high = right;
    else low = left;
  }
  return Math.exp((low + high) / 2);
}

/** The right answer of least margin, with the other answer as its target. */
function likeliestMistake(link: Link, logits: readonly number[][], targets: readonly Float64Array[]) {
  let least = { margin: Infinity, logits: logits[0]!, targets: targets[0]! };
  for (const [index, own] of logits.entries()) {
    for (const [label, logit] of own.entries()) {
      const right = targets[index]![label] === 1;
      if (link === "softmax" && right) continue;
      const margin = link === "softmax" ? own[targets[index]!.indexOf(1)]! - logit : right ? logit : -logit;
      if (margin < 0 || margin >= least.margin) continue;
      const wrong = link === "softmax" ? new Float64Array(own.length) : new Float64Array(targets[index]!);
      wrong[label] = right ? 0 : 1;
      least = { margin, logits: own, targets: wrong };
    }
  }
  return least;
}

function lossAt(
  link: Link,
  logits: readonly number[][],
  targets: readonly Float64Array[],
  temperature: number,
): number {
  let loss = 0;
  for (const [index, own] of logits.entries()) {
    for (const [label, probability] of probabilitiesOf(link, own, temperature).entries()) {
      if (targets[index]![label] === 1) loss -= Math.log(Math.max(probability, 1e-15));
      else if (link === "sigmoid") loss -= Math.log(Math.max(1 - probability, 1e-15));
    }
  }
  return loss / logits.length;
}

function validate(
  link: Link,
  logits: readonly number[][],
  targets: readonly Float64Array[],
  temperature: number,
): Validation {
  const cases = logits.length;
  if (cases === 0) return { cases, accuracy: 0, loss: 0 };
  const right = logits.filter((own, index) => agrees(link, own, targets[index]!)).length;
  return { cases, accuracy: right / cases, loss: lossAt(link, logits, targets, temperature) };
}

function agrees(link: Link, logits: readonly number[], targets: Float64Array): boolean {
  if (link === "softmax") return targets[logits.indexOf(Math.max(...logits))] === 1;
  return logits.every((logit, label) => logit > 0 === (targets[label] === 1));
}

/** From how far each example lies from its nearest other one; 0 (everything is in scope) with fewer than 4 examples. */
function scopeThresholdOf(examples: readonly Case[]): number {
  if (examples.length < 4) return 0;
  const vectors = examples.map(({ vector }) => normalised(vector));
  const similarities = vectors.map((vector, index) =>
    vectors.reduce((most, other, at) => (at === index ? most : Math.max(most, dot(other, vector))), -1),
  );
  similarities.sort((a, b) => a - b);
  const usual = similarities[Math.floor(0.05 * similarities.length)]!;
  return Math.max(SCOPE_SHARE * usual, 1 - (1 - usual) / SCOPE_SHARE);
}
