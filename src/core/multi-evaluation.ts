// How good a classifier is that gives a text any number of labels: each label is a decision of its own. Pure.
import {
  type Answer,
  calibrationErrorOf,
  type LabelScore,
  labelScore,
  type PathFigures,
  pathFigures,
  type ReliabilityBin,
  reliabilityOf,
} from "./evaluation.ts";

/** One answered text. */
export interface JudgedLabels extends Omit<Answer, "right"> {
  text: string;
  expected: readonly string[];
  found: readonly string[];
  /** Of every label, each for itself. */
  probabilities: Readonly<Record<string, number>>;
}

export interface MultiEvaluation {
  cases: number;
  /** Share of the texts with exactly the right labels. */
  exactMatch: number;
  /** Over all decisions, and the mean over labels that occur. */
  microF1: number;
  macroF1: number;
  /** Expected calibration error of the probabilities of all labels. */
  calibrationError: number;
  labels: LabelScore[];
  reliability: ReliabilityBin[];
  /** A text counts as right with exactly the right labels. */
  paths: PathFigures[];
  mistakes: { text: string; missing: string[]; wrong: string[] }[];
}

export function evaluateLabels(judged: readonly JudgedLabels[], labels: readonly string[]): MultiEvaluation {
  const names = [...new Set([...labels, ...judged.flatMap(({ expected }) => expected)])];
  const texts = judged.map((own) => ({
    ...own,
    missing: own.expected.filter((label) => !own.found.includes(label)),
    wrong: own.found.filter((label) => !own.expected.includes(label)),
  }));
  const isRight = ({ missing, wrong }: (typeof texts)[number]) => missing.length + wrong.length === 0;
  const scores = names.map((label) => {
    const right = judged.filter(({ expected, found }) => expected.includes(label) && found.includes(label)).length;
    const cases = judged.filter(({ expected }) => expected.includes(label)).length;
    const found = judged.filter((own) => own.found.includes(label)).length;
    return { found, right, ...labelScore(label, { right, cases, found }) };
  });
  const total = (pick: (score: (typeof scores)[number]) => number) => scores.reduce((sum, own) => sum + pick(own), 0);
  const micro = {
    right: total(({ right }) => right),
    cases: total(({ cases }) => cases),
    found: total((own) => own.found),
  };
  const present = scores.filter(({ cases }) => cases > 0);
  const reliability = reliabilityOf(
    judged.flatMap(({ probabilities, expected }) =>
      Object.entries(probabilities).map(([label, confidence]) => ({ confidence, right: expected.includes(label) })),
    ),
  );
  return {
    cases: judged.length,
    exactMatch: judged.length === 0 ? 0 : texts.filter(isRight).length / judged.length,
    microF1: labelScore("", micro).f1,
    macroF1: present.length === 0 ? 0 : present.reduce((sum, { f1 }) => sum + f1, 0) / present.length,
    calibrationError: calibrationErrorOf(reliability),
    labels: scores.map(({ label, cases, precision, recall, f1 }) => ({ label, cases, precision, recall, f1 })),
    reliability,
    paths: pathFigures(texts.map((own) => ({ by: own.by, latencyMs: own.latencyMs, right: isRight(own) }))),
    mistakes: texts.filter((own) => !isRight(own)).map(({ text, missing, wrong }) => ({ text, missing, wrong })),
  };
}
