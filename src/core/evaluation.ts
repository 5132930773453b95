// How good a classifier is, from answers beside what was right: accuracy, calibration, confusion, what abstaining buys,
// whether it notices texts that are about something else, and how long it took. Pure.

/** What every answer has, whether of one label or of several. */
export interface Answer {
  /** Which path answered. */
  by: string;
  latencyMs: number;
  right: boolean;
}

/** One answered text. */
export interface Judged extends Omit<Answer, "right"> {
  text: string;
  /** The right label; null for a text that none of the labels fits. */
  expected: string | null;
  /** What was answered; null or the abstain label when it abstained. */
  label: string | null;
  /** The most probable label, abstained or not. */
  best: string;
  confidence: number;
  /** How much the text is like what the classifier knows; the confidence where it does not say. */
  similarity: number;
}

export interface LabelScore {
  label: string;
  /** Texts that have this label. */
  cases: number;
  precision: number;
  recall: number;
  f1: number;
}

export interface ReliabilityBin {
  /** Confidence from (exclusive) and to (inclusive). */
  from: number;
  to: number;
  cases: number;
  confidence: number;
  accuracy: number;
}

export interface AbstentionPoint {
  threshold: number;
  /** Share of the texts answered when all below the threshold abstain. */
  coverage: number;
  /** Share of right answers among these. */
  accuracy: number;
}

export interface PathFigures {
  by: string;
  cases: number;
  accuracy: number;
  p50Ms: number;
  p95Ms: number;
}

export interface Evaluation {
  cases: number;
  /** Of the most probable label, on texts that have a right one. */
  accuracy: number;
  /** Texts that got an answer, and how many of the answers were right. */
  coverage: number;
  answeredAccuracy: number;
  macroF1: number;
  /** Expected calibration error over ten bins of confidence. */
  calibrationError: number;
  labels: LabelScore[];
  /** Rows: right label; columns: most probable label; both in the order of `labels`. */
  confusion: number[][];
  reliability: ReliabilityBin[];
  abstention: AbstentionPoint[];
  /** Chance that a text with a label scores above one without; undefined unless both are there. */
  outOfScopeAuroc?: number;
  paths: PathFigures[];
  mistakes: { text: string; expected: string; best: string; confidence: number }[];
}

const BINS = 10;
const ABSTENTION_STEPS = 20;

export function evaluate(judged: readonly Judged[], labels: readonly string[]): Evaluation {
  const inScope = judged.filter((own): own is Judged & { expected: string } => own.expected !== null);
  const outside = judged.filter(({ expected }) => expected === null);
  const names = [...new Set([...labels, ...inScope.map(({ expected }) => expected)])];
  const confusion = names.map((right) =>
    names.map((found) => inScope.filter(({ expected, best }) => expected === right && best === found).length),
  );
  const scores = names.map((label, index) => {
    const found = sum(confusion.map((own) => own[index]!));
    return labelScore(label, { right: confusion[index]![index]!, cases: sum(confusion[index]!), found });
  });
  const present = scores.filter(({ cases }) => cases > 0);
  const answered = inScope.filter(({ label }) => label !== null && names.includes(label));
  const answers = inScope.map((own) => ({ ...own, right: own.expected === own.best }));
  const reliability = reliabilityOf(answers);
  return {
    cases: inScope.length,
    accuracy: accuracyOf(inScope),
    coverage: share(answered.length, inScope.length),
    answeredAccuracy: accuracyOf(answered),
    macroF1: share(sum(present.map(({ f1 }) => f1)), present.length),
    calibrationError: calibrationErrorOf(reliability),
    labels: scores,
    confusion,
    reliability,
    abstention: abstentionCurve(inScope),
    ...(inScope.length > 0 &&
      outside.length > 0 && { outOfScopeAuroc: auroc(similarities(inScope), similarities(outside)) }),
    paths: pathFigures(answers),
    mistakes: inScope
      .filter(({ expected, best }) => expected !== best)
      .map(({ text, expected, best, confidence }) => ({ text, expected, best, confidence })),
  };
}

/** Probability that a value of `above` is greater than one of `below`; equal ones count half. */
export function auroc(above: readonly number[], below: readonly number[]): number {
  const ranked = [
    ...above.map((value) => ({ value, wanted: true })),
    ...below.map((value) => ({ value, wanted: false })),
  ];
  ranked.sort((a, b) => a.value - b.value);
  let rankSum = 0;
  for (let start = 0; start < ranked.length;) {
    let end = start;
    while (end < ranked.length && ranked[end]!.value === ranked[start]!.value) end++;
    const rank = (start + 1 + end) / 2;
    for (let index = start; index < end; index++) if (ranked[index]!.wanted) rankSum += rank;
    start = end;
  }
  return (rankSum - (above.length * (above.length + 1)) / 2) / (above.length * below.length);
}

/** The value that `share` of the values do not exceed; 0 of none. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))] ?? 0;
}

/** From the texts that have the label, those that were given it, and those where both are so. */
export function labelScore(
  label: string,
  { right, cases, found }: Record<"right" | "cases" | "found", number>,
): LabelScore {
  return {
    label,
    cases,
    precision: share(right, found),
    recall: share(right, cases),
    f1: share(2 * right, cases + found),
  };
}

/** Ten bins of confidence; a confidence of 0 is in the first. */
export function reliabilityOf(answers: readonly { confidence: number; right: boolean }[]): ReliabilityBin[] {
  return Array.from({ length: BINS }, (_, index) => {
    const [from, to] = [index / BINS, (index + 1) / BINS];
    const own = answers.filter(({ confidence }) => (confidence > from || index === 0) && confidence <= to);
    const confidence = share(sum(own.map((one) => one.confidence)), own.length);
    return { from, to, cases: own.length, confidence, accuracy: rightOf(own) };
  });
}

/** Mean distance of confidence and accuracy over the bins, weighted by their answers. */
export function calibrationErrorOf(bins: readonly ReliabilityBin[]): number {
  const total = sum(bins.map(({ cases }) => cases));
  return sum(bins.map(({ cases, confidence, accuracy }) => share(cases, total) * Math.abs(confidence - accuracy)));
}

function abstentionCurve(judged: readonly Judged[]): AbstentionPoint[] {
  return Array.from({ length: ABSTENTION_STEPS }, (_, index) => {
    const threshold = index / ABSTENTION_STEPS;
    const answered = judged.filter(({ confidence }) => confidence >= threshold);
    return { threshold, coverage: share(answered.length, judged.length), accuracy: accuracyOf(answered) };
  });
}

export function pathFigures(answers: readonly Answer[]): PathFigures[] {
  return [...new Set(answers.map(({ by }) => by))].sort().map((by) => {
    const own = answers.filter((one) => one.by === by);
    const latencies = own.map(({ latencyMs }) => latencyMs);
    return {
      by,
      cases: own.length,
      accuracy: rightOf(own),
      p50Ms: percentile(latencies, 0.5),
      p95Ms: percentile(latencies, 0.95),
    };
  });
}

function similarities(judged: readonly Judged[]): number[] {
  return judged.map(({ similarity }) => similarity);
}

function rightOf(answers: readonly { right: boolean }[]): number {
  return share(answers.filter(({ right }) => right).length, answers.length);
}

function accuracyOf(judged: readonly Judged[]): number {
  return share(judged.filter(({ expected, best }) => expected === best).length, judged.length);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
