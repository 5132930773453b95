// `pipit eval`: measures a classifier on labelled texts, in this process. Figures to stdout, a page with the confusion matrix
// and the reliability diagram where it is asked for.
import { readFile, writeFile } from "node:fs/promises";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { type ClassifierDefinition, defineClassifier, labelledTexts } from "../core/classifier.ts";
import { PipitError } from "../core/errors.ts";
import { evaluate, type Judged } from "../core/evaluation.ts";
import type { Example } from "../core/route.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";
import { htmlReport, type ReportHead, terminalReport } from "./eval-report.ts";
import { openLocally, type OpenClassifiers, type OpenedClassifiers, type PathChoice } from "./local-classifiers.ts";

const PATHS: readonly PathChoice[] = ["head", "decoder", "cascade"];

const help = `Usage: pipit eval FILE… [options]

Measures a classifier on labelled texts: {"text": …, "label": …} a line; label null for a text that none of the labels fits.
Lines with "split": "examples" teach, unless --classifier names one that is configured; all others are measured.

      --classifier NAME   a classifier of the folder \`classifiers\` in the state directory
      --path PATH         head (encoder), decoder, or cascade (both): default head
      --per-label N       teach at most the first N examples of each label
      --html FILE         also write a page with confusion matrix and reliability diagram
      --json              all figures as one JSON document

Exit codes: 0 measured, 1 a text could not be classified.

${CONFIG_HELP}`;

interface Row {
  text: string;
  label: string | null;
  split?: string;
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
      const rows = (await Promise.all(context.positionals.map(readRows))).flat();
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
  const definition = typeof classifier === "string" ? classifiers.named(classifier).definition : classifier;
  const measured = rows.filter(({ split }) => typeof name === "string" || split !== "examples");
  const judged: Judged[] = [];
  // The first answer trains or measures the preference; that is not the latency of an answer.
  await classifiers.classify({ classifier, text: "warming up" }, context.signal);
  for (const { text, label: expected } of measured) {
    const startedMs = performance.now();
    const verdict = await classifiers.classify({ classifier, text, explain: true }, context.signal);
    const latencyMs = performance.now() - startedMs;
    const [best = ["", 0] as const] = Object.entries(verdict.probabilities).sort(([, a], [, b]) => b - a);
    judged.push({
      text,
      expected,
      label: verdict.label,
      best: best[0],
      confidence: best[1],
      similarity: verdict.nearest?.similarity ?? best[1],
      by: verdict.by,
      latencyMs,
    });
    if (context.isTty && !context.json) context.stderr(`\r${judged.length} of ${measured.length}`);
  }
  if (context.isTty && !context.json) context.stderr("\r\u001b[K");
  const evaluation = evaluate(
    judged,
    definition.labels.map((label) => label.name),
  );
  const head = headOf(context, definition, path, models);
  const { html } = context.values;
  if (typeof html === "string") await writeFile(html, htmlReport(head, evaluation));
  if (context.json)
    context.stdout(`${JSON.stringify({ ...Object.fromEntries(head.facts), ...evaluation }, null, 2)}\n`);
  else context.stdout(terminalReport(head, evaluation));
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

/** A classifier made of the rows that teach. */
function taught(rows: readonly Row[], most: unknown): ClassifierDefinition {
  const limit = most === undefined ? Infinity : Number(most);
  if (!(limit >= 0)) throw new PipitError("request", "usage", `--per-label must be a number, got ${String(most)}`);
  const seen = new Map<string, number>();
  const examples = rows.flatMap(({ text, label, split }): Example[] => {
    if (split !== "examples" || label === null) return [];
    const count = (seen.get(label) ?? 0) + 1;
    seen.set(label, count);
    return count <= limit ? [{ text, label }] : [];
  });
  const names = [...new Set(rows.flatMap(({ label }) => label ?? []))];
  return defineClassifier({ name: "eval", labels: names.map((name) => ({ name })), examples: labelledTexts(examples) });
}

async function readRows(path: string): Promise<Row[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new PipitError("config", "unreadable", `${path} cannot be read`, { cause });
  }
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    const row = parsed(line);
    if (row) return [row];
    throw new PipitError(
      "config",
      "bad_rows",
      `${path}:${index + 1} must be {"text": …, "label": … or null}, is ${line.slice(0, 80)}`,
    );
  });
}

function parsed(line: string): Row | undefined {
  try {
    const { text, label, split } = JSON.parse(line) as Record<string, unknown>;
    if (typeof text !== "string" || (typeof label !== "string" && label !== null)) return undefined;
    return { text, label, ...(typeof split === "string" && { split }) };
  } catch {
    return undefined;
  }
}
