// `pipit eval`: measures a classifier on labelled texts, in this process. Figures to stdout, a page with the confusion matrix
// and the reliability diagram where it is asked for.
import { writeFile } from "node:fs/promises";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import type { ClassifierDefinition } from "../core/classifier.ts";
import { PipitError } from "../core/errors.ts";
import { evaluate, type Judged } from "../core/evaluation.ts";
import { evaluateLabels, type JudgedLabels } from "../core/multi-evaluation.ts";
import type { ClassifierVerdict } from "../work/classifiers.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";
import { htmlReport, type ReportHead, terminalReport } from "./eval-report.ts";
import { labelsOf, readRows, type Row, taught } from "./eval-rows.ts";
import { multiHtmlReport, multiTerminalReport } from "./multi-eval-report.ts";
import { openLocally, type OpenClassifiers, type OpenedClassifiers, type PathChoice } from "./local-classifiers.ts";

const PATHS: readonly PathChoice[] = ["head", "decoder", "cascade"];

const help = `Usage: pipit eval FILE… [options]

Measures a classifier on labelled texts: {"text": …, "label": …} a line; label null for a text that none of the labels fits.
For classifiers of several labels: {"text": …, "labels": […]} a line.
Lines with "split": "examples" teach, unless --classifier names one that is configured; all others are measured.

      --classifier NAME   a classifier of the folder \`classifiers\` in the state directory
      --path PATH         head (encoder), decoder, or cascade (both): default head
      --per-label N       teach at most the first N examples of each label
      --html FILE         also write a page with confusion matrix and reliability diagram
      --json              all figures as one JSON document

Exit codes: 0 measured, 1 a text could not be classified.

${CONFIG_HELP}`;

interface Judgement {
  row: Row;
  verdict: ClassifierVerdict;
  latencyMs: number;
}

export function evalCommand(open: OpenClassifiers): Command {
  return {
    name: "eval",
    summary: "measure a classifier on labelled texts",
    help,
    options: {
      ...CONFIG_OPTIONS,
      classifier: { type: "string" },
      path: { type: "string" },
      "per-label": { type: "string" },
      html: { type: "string" },
    },
    async run(context) {
      const path = PATHS.find((known) => known === (context.values["path"] ?? "head"));
      if (context.positionals.length === 0 || path === undefined) {
        context.stderr(path ? "pipit eval: which file?\n" : `pipit eval: --path must be one of ${PATHS.join(", ")}\n`);
        return EXIT.usage;
      }
      const rows = await readRows(context.positionals);
      const { classifier } = context.values;
      const opened = await open(context, path, typeof classifier === "string" ? [classifier] : []);
      try {
        return await measure(context, path, rows, opened);
      } finally {
        await opened.close();
      }
    },
  };
}

export const command: Command = evalCommand(openLocally);

async function measure(context: CommandContext, path: PathChoice, rows: Row[], opened: OpenedClassifiers) {
  const { classifiers, models } = opened;
  const name = context.values["classifier"];
  const classifier = typeof name === "string" ? name : taught(rows, context.values["per-label"]);
  // The first answer trains or measures the preference; that is not the latency of an answer.
  await classifiers.classify({ classifier, text: "warming up" }, context.signal);
  const definition = typeof classifier === "string" ? classifiers.named(classifier).definition : classifier;
  checkKind(definition, rows);
  const measured = rows.filter(({ split }) => typeof name === "string" || split !== "examples");
  const judged: Judgement[] = [];
  for (const row of measured) {
    const startedMs = performance.now();
    const verdict = await classifiers.classify({ classifier, text: row.text, explain: true }, context.signal);
    judged.push({ row, verdict, latencyMs: performance.now() - startedMs });
    if (context.isTty && !context.json) context.stderr(`\r${judged.length} of ${measured.length}`);
  }
  if (context.isTty && !context.json) context.stderr("\r\u001b[K");
  const labels = definition.labels.map((label) => label.name);
  const head = headOf(context, definition, path, models);
  if (definition.kind === "multi") {
    const evaluation = evaluateLabels(judged.map(judgedLabels), labels);
    return report(context, head, evaluation, { terminal: multiTerminalReport, html: multiHtmlReport });
  }
  return report(context, head, evaluate(judged.map(judgedLabel), labels), {
    terminal: terminalReport,
    html: htmlReport,
  });
}

function checkKind({ name, kind }: ClassifierDefinition, rows: readonly Row[]): void {
  const several = kind === "multi";
  if (rows.every((row) => "labels" in row === several)) return;
  const wanted = several ? `gives any number of labels: rows need "labels": […]` : `gives one label: rows need "label"`;
  throw new PipitError("config", "bad_rows", `classifier ${name} ${wanted}`);
}

function judgedLabel({ row, verdict, latencyMs }: Judgement): Judged {
  const [best = ["", 0] as const] = Object.entries(verdict.probabilities).sort(([, a], [, b]) => b - a);
  return {
    text: row.text,
    expected: labelsOf(row)[0] ?? null,
    label: verdict.label,
    best: best[0],
    confidence: best[1],
    similarity: verdict.nearest?.similarity ?? best[1],
    by: verdict.by,
    latencyMs,
  };
}

function judgedLabels({ row, verdict, latencyMs }: Judgement): JudgedLabels {
  const { labels: found = [], probabilities, by } = verdict;
  return { text: row.text, expected: labelsOf(row), found, probabilities, by, latencyMs };
}

async function report<E extends object>(
  context: CommandContext,
  head: ReportHead,
  evaluation: E,
  as: Record<"terminal" | "html", (head: ReportHead, evaluation: E) => string>,
): Promise<number> {
  const { html } = context.values;
  if (typeof html === "string") await writeFile(html, as.html(head, evaluation));
  const figures = { ...Object.fromEntries(head.facts), ...evaluation };
  context.stdout(context.json ? `${JSON.stringify(figures, null, 2)}\n` : as.terminal(head, evaluation));
  return EXIT.ok;
}

function headOf(
  context: CommandContext,
  { name, examples }: ClassifierDefinition,
  path: string,
  models: string[],
): ReportHead {
  return {
    title: `Classifier ${name}`,
    facts: [
      ["classifier", `${name}, ${examples.length} examples`],
      ["path", path],
      ["models", models.join(", ")],
      ["file", context.positionals.join(", ")],
      ["date", new Date().toISOString()],
    ],
  };
}
