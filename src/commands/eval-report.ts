// The report of `pipit eval`: for the terminal, and as one HTML page with the confusion matrix and the reliability diagram
// as SVG. The page needs no script, no network and no other file; texts in it are escaped.
import type { Evaluation, LabelScore, PathFigures, ReliabilityBin } from "../core/evaluation.ts";

export interface ReportHead {
  title: string;
  /** What was evaluated, in words: classifier, model, file, date. */
  facts: [string, string][];
}

export function terminalReport({ facts }: ReportHead, evaluation: Evaluation): string {
  const { cases, accuracy, macroF1, calibrationError, coverage, answeredAccuracy, outOfScopeAuroc } = evaluation;
  const width = Math.max(8, ...evaluation.labels.map(({ label }) => label.length));
  const lines = [
    ...facts.map(([name, value]) => `${name.padEnd(14)}${value}`),
    "",
    `texts         ${cases}`,
    `accuracy      ${fixed(accuracy)}`,
    `macro-F1      ${fixed(macroF1)}`,
    `calibration   ${fixed(calibrationError)} expected error`,
    `answered      ${percent(coverage)}, ${fixed(answeredAccuracy)} of them right`,
    ...(outOfScopeAuroc === undefined ? [] : [`out of scope  ${fixed(outOfScopeAuroc)} AUROC`]),
    "",
    ...labelLines(evaluation.labels, width),
    "",
    ...confusionLines(evaluation, width),
    "",
    "threshold  answered  of them right",
    ...evaluation.abstention
      .filter((_, index) => index % 2 === 0)
      .map(
        ({ threshold, coverage, accuracy: right }) =>
          `${threshold.toFixed(1).padStart(9)}  ${percent(coverage).padStart(8)}  ${fixed(right).padStart(13)}`,
      ),
    "",
    ...pathLines(evaluation.paths),
  ];
  return `${lines.join("\n")}\n`;
}

export function labelLines(labels: readonly LabelScore[], width: number): string[] {
  return [
    `${"label".padEnd(width)}  texts  precision  recall     F1`,
    ...labels.map(
      ({ label, cases, precision, recall, f1 }) =>
        `${label.padEnd(width)}  ${String(cases).padStart(5)}  ${fixed(precision).padStart(9)}  ${fixed(recall).padStart(6)}  ${fixed(f1).padStart(5)}`,
    ),
  ];
}

export function pathLines(paths: readonly PathFigures[]): string[] {
  return [
    "path       texts  accuracy   p50 ms   p95 ms",
    ...paths.map(
      ({ by, cases, accuracy, p50Ms, p95Ms }) =>
        `${by.padEnd(9)}  ${String(cases).padStart(5)}  ${fixed(accuracy).padStart(8)}  ${p50Ms.toFixed(1).padStart(7)}  ${p95Ms.toFixed(1).padStart(7)}`,
    ),
  ];
}

/** Rows: right label; columns: most probable label, by the first letters of its name. */
function confusionLines({ labels, confusion }: Evaluation, width: number): string[] {
  const columns = labels.map(({ label }) => label.slice(0, 8));
  const row = (name: string, cells: readonly string[]) =>
    `${name.padEnd(width)}  ${cells.map((cell, index) => cell.padStart(Math.max(4, columns[index]!.length))).join(" ")}`;
  return [
    row("right", columns),
    ...labels.map(({ label }, index) =>
      row(
        label,
        confusion[index]!.map((count) => (count === 0 ? "." : String(count))),
      ),
    ),
  ];
}

export function htmlReport(head: ReportHead, evaluation: Evaluation): string {
  const { cases, accuracy, macroF1, calibrationError, coverage, answeredAccuracy, outOfScopeAuroc } = evaluation;
  const figures: [string, string][] = [
    ["Texts", String(cases)],
    ["Accuracy", percent(accuracy)],
    ["Macro-F1", fixed(macroF1)],
    ["Expected calibration error", fixed(calibrationError)],
    ["Answered", `${percent(coverage)} (${percent(answeredAccuracy)} of them right)`],
    ...(outOfScopeAuroc === undefined ? [] : ([["Out of scope, AUROC", fixed(outOfScopeAuroc)]] as [string, string][])),
  ];
  return page(head, [
    table([], [...head.facts, ...figures]),
    `<h2>Confusion</h2>
<p>Rows: right label; columns: most probable label.</p>`,
    confusionSvg(evaluation),
    `<h2>Reliability</h2>
<p>How often answers of a given confidence were right; bars on the diagonal are honest.</p>`,
    reliabilitySvg(evaluation.reliability),
    `<h2>Abstaining</h2>
<p>Share of texts answered (thin) and share of these answered right (thick), by threshold.</p>`,
    abstentionSvg(evaluation),
    pathTable(evaluation.paths),
    labelTable(evaluation.labels),
    "<h2>Mistakes</h2>",
    table(
      ["Text", "Right", "Answered", "Confidence"],
      evaluation.mistakes.map(({ text, expected, best, confidence }) => [text, expected, best, fixed(confidence)]),
    ),
  ]);
}

/** A page that needs no script, no network and no other file. */
export function page(head: ReportHead, parts: readonly string[]): string {
  const title = escaped(head.title);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181b}svg text{fill:#e6e6e6}svg .axis{stroke:#999}}
</style></head><body>
<h1>${title}</h1>
${parts.join("\n")}
</body></html>
`;
}

export function pathTable(paths: readonly PathFigures[]): string {
  const rows = paths.map(({ by, cases, accuracy, p50Ms, p95Ms }) => [
    by,
    String(cases),
    fixed(accuracy),
    p50Ms.toFixed(1),
    p95Ms.toFixed(1),
  ]);
  return `<h2>Paths</h2>\n${table(["Path", "Texts", "Accuracy", "p50 ms", "p95 ms"], rows)}`;
}

export function labelTable(labels: readonly LabelScore[]): string {
  const rows = labels.map(({ label, cases, precision, recall, f1 }) => [
    label,
    String(cases),
    fixed(precision),
    fixed(recall),
    fixed(f1),
  ]);
  return `<h2>Labels</h2>\n${table(["Label", "Texts", "Precision", "Recall", "F1"], rows)}`;
}

function confusionSvg({ labels, confusion }: Evaluation): string {
  const cell = 34;
  const margin = 12 + 7 * Math.max(4, ...labels.map(({ label }) => Math.min(24, label.length)));
  const size = margin + cell * labels.length + 4;
  const parts = labels.flatMap(({ label, cases }, row) => {
    const y = margin + row * cell;
    const short = escaped(label.length > 24 ? `${label.slice(0, 23)}…` : label);
    const names = [
      `<text x="${margin - 6}" y="${y + 21}" text-anchor="end">${short}</text>`,
      `<text transform="translate(${y + 21} ${margin - 6}) rotate(-90)">${short}</text>`,
    ];
    const cells = confusion[row]!.map((count, column) => {
      const shade = cases === 0 ? 0 : count / cases;
      const colour = row === column ? "34,139,84" : "200,60,50";
      const x = margin + column * cell;
      const square = `<rect x="${x}" y="${y}" width="${cell - 2}" height="${cell - 2}" fill="rgba(${colour},${(0.06 + 0.9 * shade).toFixed(2)})"/>`;
      return count === 0
        ? square
        : `${square}<text x="${x + cell / 2 - 1}" y="${y + 21}" text-anchor="middle">${count}</text>`;
    });
    return [...names, ...cells];
  });
  return svg(size, size, "confusion matrix", parts);
}

export function reliabilitySvg(bins: readonly ReliabilityBin[]): string {
  const bars = bins.map(({ from, to, accuracy, cases }) => {
    if (cases === 0) return "";
    const height = 300 * accuracy;
    const what = `confidence ${from.toFixed(1)} to ${to.toFixed(1)}: ${cases} texts, ${percent(accuracy)} right`;
    const bar = `<rect x="${40 + 300 * from + 1}" y="${310 - height}" width="${300 * (to - from) - 2}" height="${height}" fill="#3a78b5"><title>${what}</title></rect>`;
    return `${bar}<text x="${40 + 150 * (from + to)}" y="${Math.max(12, 306 - height)}" text-anchor="middle">${cases}</text>`;
  });
  const diagonal = `<line class="axis" x1="40" y1="310" x2="340" y2="10" stroke="#666" stroke-dasharray="4"/>`;
  return svg(360, 350, "reliability diagram", [...axes("confidence", "right"), ...bars, diagonal]);
}

function abstentionSvg({ abstention }: Evaluation): string {
  const line = (value: (point: Evaluation["abstention"][number]) => number, width: number) => {
    const points = abstention.map((point) => `${40 + 300 * point.threshold},${310 - 300 * value(point)}`).join(" ");
    return `<polyline points="${points}" fill="none" stroke="#3a78b5" stroke-width="${width}"/>`;
  };
  const answered = line(({ coverage }) => coverage, 1.5);
  const right = line(({ accuracy }) => accuracy, 4);
  return svg(360, 350, "abstention curve", [...axes("threshold", "share"), answered, right]);
}

function axes(horizontal: string, vertical: string): string[] {
  return [
    `<polyline class="axis" points="40,10 40,310 340,310" fill="none" stroke="#666"/>`,
    `<text x="190" y="342" text-anchor="middle">${horizontal}</text><text x="40" y="326" text-anchor="middle">0</text><text x="340" y="326" text-anchor="middle">1</text>`,
    `<text transform="translate(16 160) rotate(-90)" text-anchor="middle">${vertical}</text><text x="34" y="314" text-anchor="end">0</text><text x="34" y="18" text-anchor="end">1</text>`,
  ];
}

function svg(width: number, height: number, name: string, parts: readonly string[]): string {
  return `<svg role="img" aria-label="${name}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" fill="currentColor">${parts.join("")}</svg>`;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const numeric = (index: number) => (index > 0 && head.length > 0 ? ' class="n"' : "");
  const top =
    head.length === 0 ? "" : `<tr>${head.map((name, index) => `<th${numeric(index)}>${name}</th>`).join("")}</tr>`;
  const body = rows.map(
    (own) => `<tr>${own.map((value, index) => `<td${numeric(index)}>${escaped(value)}</td>`).join("")}</tr>`,
  );
  return `<table>${top}${body.join("\n")}</table>`;
}

function escaped(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character]!);
}

export function fixed(value: number): string {
  return value.toFixed(3);
}

export function percent(value: number): string {
  return `${(100 * value).toFixed(1)} %`;
}
