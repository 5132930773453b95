// An exam: golden questions with what a good answer holds, labelled texts with their label, and the verdict over all of
// them. It decides whether a release or a model stays, so an unreadable paper is an error and never a pass.
import { PipitError } from "./errors.ts";

export interface ExamQuestion {
  task: "answer" | "classify";
  text: string;
  /** For `answer` a regular expression the text must match (case ignored), for `classify` the label. */
  expect: string;
  labels?: string[];
}

export interface ExamAnswer {
  /** Text of an answer or label of a classification; undefined when the agent answered with an error. */
  given?: string | undefined;
  error?: string | undefined;
  completionTokens?: number | undefined;
  generateMs?: number | undefined;
  totalMs?: number | undefined;
  /** Which model wrote the answer. */
  model?: string | undefined;
}

export interface ExamResult {
  verdict: "passed" | "failed";
  /** Share of right answers, 0 to 1. */
  score: number;
  questions: number;
  /** Median over the answers of at least two tokens; undefined when there were none. */
  tokensPerSecond: number | undefined;
  p50Ms: number | undefined;
  /** The models that wrote the answers, joined by a comma: more than one when the agent changed it meanwhile. */
  model: string | undefined;
  wrong: { text: string; expect: string; given: string }[];
  /** Why it failed, in a sentence. */
  error: string | undefined;
}

export interface ExamBar {
  minScore: number;
  /** 0: speed does not count. */
  minTokensPerSecond: number;
}

/** One JSON object a line. Throws a `config` PipitError that names the line. */
export function readExam(text: string, file: string): ExamQuestion[] {
  const questions: ExamQuestion[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    questions.push(readQuestion(line, `${file}, line ${index + 1}`));
  }
  if (questions.length === 0) throw new PipitError("config", "exam_empty", `${file} holds no question`);
  return questions;
}

function readQuestion(line: string, where: string): ExamQuestion {
  const fail = (what: string): never => {
    throw new PipitError("config", "exam_unreadable", `${where}: ${what}`);
  };
  let row: Record<string, unknown>;
  try {
    row = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return fail("not JSON");
  }
  const { task = "label" in row ? "classify" : "answer", text, expect = row["label"], labels } = row;
  if (task !== "answer" && task !== "classify") return fail(`task must be answer or classify, got ${String(task)}`);
  if (typeof text !== "string" || text === "") return fail("text is missing");
  if (typeof expect !== "string" || expect === "") return fail("expect (or label) is missing");
  try {
    new RegExp(expect);
  } catch {
    return fail(`expect is not a regular expression: ${expect}`);
  }
  return { task, text, expect, ...(Array.isArray(labels) && { labels: labels.map(String) }) };
}

export function gradeExam(papers: { question: ExamQuestion; answer: ExamAnswer }[], bar: ExamBar): ExamResult {
  const wrong = papers
    .filter(({ question, answer }) => !isRight(question, answer))
    .map(({ question: { text, expect }, answer }) => ({ text, expect, given: answer.error ?? answer.given ?? "" }));
  const score = (papers.length - wrong.length) / papers.length;
  const tokensPerSecond = median(papers.flatMap(({ answer }) => speedOf(answer)));
  const p50Ms = median(papers.flatMap(({ answer }) => answer.totalMs ?? []));
  const models = new Set(papers.flatMap(({ answer }) => answer.model ?? []));
  const faults: string[] = [];
  if (score < bar.minScore) {
    const first = wrong[0];
    const example = first ? `: "${first.text}" got "${first.given.slice(0, 80)}"` : "";
    faults.push(`score ${score.toFixed(2)}, ${bar.minScore} wanted${example}`);
  }
  if (bar.minTokensPerSecond > 0 && (tokensPerSecond ?? 0) < bar.minTokensPerSecond) {
    faults.push(`${(tokensPerSecond ?? 0).toFixed(1)} tokens/s, ${bar.minTokensPerSecond} wanted`);
  }
  const error = faults.length > 0 ? faults.join("; ") : undefined;
  return {
    verdict: error ? "failed" : "passed",
    score,
    questions: papers.length,
    tokensPerSecond,
    p50Ms,
    model: models.size > 0 ? [...models].sort().join() : undefined,
    wrong,
    error,
  };
}

function isRight({ task, expect }: ExamQuestion, { given }: ExamAnswer): boolean {
  if (given === undefined) return false;
  return task === "classify" ? given === expect : new RegExp(expect, "i").test(given);
}

function speedOf({ completionTokens = 0, generateMs = 0 }: ExamAnswer): number[] {
  return completionTokens >= 2 && generateMs > 0 ? [(completionTokens / generateMs) * 1000] : [];
}

function median(values: number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
