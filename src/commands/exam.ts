// `pipit exam`: sits a file of golden questions and labelled texts with the running agent, over the bus as any asker does.
// The gate of an update and of a new model; exit 0 passed, 1 failed, 75 when the agent or the broker could not be reached.
import { readFile } from "node:fs/promises";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { PipitError } from "../core/errors.ts";
import { type ExamAnswer, type ExamQuestion, type ExamResult, gradeExam, readExam } from "../core/exam.ts";
import { type PipitClient, ReplyError } from "../mqtt/client.ts";
import { overMqtt } from "./asking.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";

/** Errors of the agent that a later sitting may not meet. */
const NOT_NOW = ["model_unavailable", "busy", "expired", "rate_limited"];

interface Paper {
  question: ExamQuestion;
  answer: ExamAnswer;
}

export const command: Command = {
  name: "exam",
  summary: "ask the running agent golden questions, and say whether it passed",
  help: `Usage: pipit exam FILE.jsonl [--min-score S] [--min-speed T] [--timeout-s N]

Each line of FILE is {"task": "answer", "text": "…", "expect": "regular expression"} or
{"task": "classify", "text": "…", "label": "…", "labels": ["…"]}. Exit 0 passed, 1 failed, 75 not reachable.

  --min-score S    share of right answers wanted, 0 to 1 (default 1)
  --min-speed T    median tokens a second wanted (default 0: any)
  --timeout-s N    longest wait for one answer (default 60)

${CONFIG_HELP}`,
  options: {
    ...CONFIG_OPTIONS,
    "min-score": { type: "string", default: "1" },
    "min-speed": { type: "string", default: "0" },
    "timeout-s": { type: "string", default: "60" },
  },
  async run(context) {
    const file = context.positionals[0];
    if (file === undefined) throw new PipitError("config", "usage", "exam takes a file of questions; see --help");
    const bar = { minScore: number(context, "min-score", 1), minTokensPerSecond: number(context, "min-speed") };
    const questions = readExam(await readFile(file, "utf8"), file);
    try {
      const papers = await sit(context, questions, number(context, "timeout-s") * 1000);
      const result = gradeExam(papers, bar);
      context.stdout(context.json ? `${examJson(result)}\n` : examText(result));
      return result.verdict === "passed" ? EXIT.ok : EXIT.failed;
    } catch (thrown) {
      const later = thrown instanceof PipitError && (thrown.kind === "transient" || thrown.kind === "request");
      if (!later || !context.json) throw thrown;
      context.stdout(`${JSON.stringify({ verdict: "unreachable", error: thrown.message })}\n`);
      return EXIT.temporary;
    }
  },
};

async function sit(context: CommandContext, questions: ExamQuestion[], timeoutMs: number): Promise<Paper[]> {
  return await overMqtt(context, timeoutMs, async (client) => {
    const papers: Paper[] = [];
    for (const question of questions) papers.push({ question, answer: await answerTo(client, question, timeoutMs) });
    return papers;
  });
}

async function answerTo(client: PipitClient, question: ExamQuestion, deadlineMs: number): Promise<ExamAnswer> {
  const { task, text, labels } = question;
  try {
    if (task === "classify") {
      const { label, timing_ms } = await client.classify(text, { deadlineMs, ...(labels && { labels }) });
      return { given: label ?? undefined, totalMs: timing_ms.total };
    }
    const reply = await client.ask(text, { deadlineMs, maxTokens: 48, temperature: 0 });
    const { timing_ms, usage, model } = reply;
    const { generate: generateMs, total: totalMs } = timing_ms;
    return { given: reply.text, completionTokens: usage.completion_tokens, generateMs, totalMs, model };
  } catch (thrown) {
    // A model that is still loading, or a full queue, is no wrong answer.
    if (!(thrown instanceof ReplyError) || NOT_NOW.includes(thrown.code)) throw thrown;
    return { error: thrown.message };
  }
}

function number({ values }: CommandContext, name: string, most = Infinity): number {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value >= 0 && value <= most) return value;
  const bound = most === Infinity ? "up" : `to ${most}`;
  throw new PipitError("config", "usage", `--${name} takes a number from 0 ${bound}, got ${String(values[name])}`);
}

/** `tokens_per_second` and `model` stand once and on the top level: pipitctl reads them with sed. */
function examJson({ verdict, score, questions, tokensPerSecond, p50Ms, model, wrong, error }: ExamResult): string {
  const rounded = tokensPerSecond === undefined ? undefined : Math.round(tokensPerSecond * 100) / 100;
  return JSON.stringify({ verdict, score, questions, tokens_per_second: rounded, p50_ms: p50Ms, model, error, wrong });
}

function examText({ verdict, score, questions, tokensPerSecond, p50Ms, wrong, error }: ExamResult): string {
  const lines = wrong.map(({ text, expect, given }) => `  ${text}\n    expected ${expect}, got ${given}`);
  const speed = tokensPerSecond === undefined ? "" : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
  const pace = p50Ms === undefined ? "" : `, p50 ${p50Ms.toFixed(0)} ms`;
  const head = `${verdict}: ${(score * 100).toFixed(0)} % of ${questions} right${speed}${pace}${error ? ` (${error})` : ""}`;
  return `${[head, ...lines].join("\n")}\n`;
}
