// The report of `pipit eval` on a classifier of several labels: no confusion matrix, for labels do not exclude each other.
import type { MultiEvaluation } from "../core/multi-evaluation.ts";
import {
  fixed,
  labelLines,
  labelTable,
  page,
  pathLines,
  pathTable,
  percent,
  reliabilitySvg,
  type ReportHead,
  table,
} from "./eval-report.ts";

export function multiTerminalReport({ facts }: ReportHead, evaluation: MultiEvaluation): string {
  const { cases, exactMatch, microF1, macroF1, calibrationError, labels, paths } = evaluation;
  const lines = [
    ...facts.map(([name, value]) => `${name.padEnd(14)}${value}`),
    "",
    `texts         ${cases}`,
    `exact match   ${fixed(exactMatch)}`,
    `micro-F1      ${fixed(microF1)}`,
    `macro-F1      ${fixed(macroF1)}`,
    `calibration   ${fixed(calibrationError)} expected error`,
    "",
    ...labelLines(labels, Math.max(8, ...labels.map(({ label }) => label.length))),
    "",
    ...pathLines(paths),
  ];
  return `${lines.join("\n")}\n`;
}

export function multiHtmlReport(head: ReportHead, evaluation: MultiEvaluation): string {
  const { cases, exactMatch, microF1, macroF1, calibrationError, reliability, labels, paths, mistakes } = evaluation;
  const figures: [string, string][] = [
    ["Texts", String(cases)],
    ["Exactly the right labels", percent(exactMatch)],
    ["Micro-F1", fixed(microF1)],
    ["Macro-F1", fixed(macroF1)],
    ["Expected calibration error", fixed(calibrationError)],
  ];
  return page(head, [
    table([], [...head.facts, ...figures]),
    `<h2>Reliability</h2>
<p>How often a label of a given probability was right; bars on the diagonal are honest.</p>`,
    reliabilitySvg(reliability),
    pathTable(paths),
    labelTable(labels),
    "<h2>Mistakes</h2>",
    table(
      ["Text", "Missing", "Wrong"],
      mistakes.map(({ text, missing, wrong }) => [text, missing.join(", "), wrong.join(", ")]),
    ),
  ]);
}
