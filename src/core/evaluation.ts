// How good a classifier is, from answers beside what was right: accuracy, calibration, confusion, what abstaining buys,
// whether it notices texts that are about something else, and how long it took. Pure.

/** One answered text. */
export interface Judged {
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
  /** Which path answered. */
  by: string;
  latencyMs: number;
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
  const scores = names.map((label, index) => labelScore(label, index, confusion));
  const present = scores.filter(({ cases }) => cases > 0);
  const answered = inScope.filter(({ label }) => label !== null && names.includes(label));
  const reliability = reliabilityOf(inScope);
  return {
    cases: inScope.length,
    accuracy: accuracyOf(inScope),
    coverage: share(answered.length, inScope.length),
    answeredAccuracy: accuracyOf(answered),
    macroF1: share(sum(present.map(({ f1 }) => f1)), present.length),
    calibrationError: sum(
      reliability.map(
        ({ cases, confidence, accuracy }) => share(cases, inScope.length) * Math.abs(confidence - accuracy),
      ),
    ),
    labels: scores,
    confusion,
    reliability,
    abstention: abstentionCurve(inScope),
    ...(inScope.length > 0 &&
      outside.length > 0 && { outOfScopeAuroc: auroc(similarities(inScope), similarities(outside)) }),
    paths: pathFigures(inScope),
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

function labelScore(label: string, index: number, confusion: readonly number[][]): LabelScore {
  const right = confusion[index]![index]!;
  const cases = sum(confusion[index]!);
  const found = sum(confusion.map((own) => own[index]!));
  return {
    label,
    cases,
    precision: share(right, found),
    recall: share(right, cases),
    f1: share(2 * right, cases + found),
  };
}

function reliabilityOf(judged: readonly Judged[]): ReliabilityBin[] {
  return Array.from({ length: BINS }, (_, index) => {
    const [from, to] = [index / BINS, (index + 1) / BINS];
    const own = judged.filter(({ confidence }) => (confidence > from || index === 0) && confidence <= to);
    const confidence = share(sum(own.map((one) => one.confidence)), own.length);
    return { from, to, cases: own.length, confidence, accuracy: accuracyOf(own) };
  });
}

function abstentionCurve(judged: readonly Judged[]): AbstentionPoint[] {
  return Array.from({ length: ABSTENTION_STEPS }, (_, index) => {
    const threshold = index / ABSTENTION_STEPS;
    const answered = judged.filter(({ confidence }) => confidence >= threshold);
    return { threshold, coverage: share(answered.length, judged.length), accuracy: accuracyOf(answered) };
  });
}

function pathFigures(judged: readonly Judged[]): PathFigures[] {
  return [...new Set(judged.map(({ by }) => by))].sort().map((by) => {
    const own = judged.filter((one) => one.by === by);
    const latencies = own.map(({ latencyMs }) => latencyMs);
    return {
      by,
      cases: own.length,
      accuracy: accuracyOf(own),
      p50Ms: percentile(latencies, 0.5),
      p95Ms: percentile(latencies, 0.95),
    };
  });
}

function similarities(judged: readonly Judged[]): number[] {
  return judged.map(({ similarity }) => similarity);
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
