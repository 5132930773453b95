// Writes the measured figures into README.md, between its two comments, from docs/figures/*.json as `npm run bench -- NAME
// --json FILE` makes them; with --check only compares and exits 1 when the table has drifted. No figures, no section.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, "docs/figures");
const readme = join(root, "README.md");

const files = existsSync(folder)
  ? readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .sort()
  : [];
const tables = files.map((name) => table(JSON.parse(readFileSync(join(folder, name), "utf8"))));
const section = tables.length === 0 ? "" : `\n## Measured\n\n${tables.join("\n")}\n`;

const text = readFileSync(readme, "utf8");
const wanted = text.replace(
  /(<!-- figures:.*?-->\n)[^]*?(<!-- \/figures -->)/,
  (_, open, close) => `${open}${section}${close}`,
);
if (!process.argv.includes("--check")) writeFileSync(readme, wanted);
else if (wanted !== text) {
  process.stderr.write("README.md has other figures than docs/figures: run node scripts/generate-figures.mjs\n");
  process.exitCode = 1;
}

function table({ bench, machine, date, rows }) {
  const lines = rows.map(({ case: name, measured, unit, target, baseline, baseline_name: against }) =>
    row([name, `${number(measured)} ${unit}`, target ?? "", compared(baseline, against)]),
  );
  const head = [row(["Case", "Measured", "Target", "Compared with"]), row(["---", "---", "---", "---"])];
  return `\`npm run bench -- ${bench}\`, ${date}, ${machine}:\n\n${[...head, ...lines].join("\n")}\n`;
}

function compared(value, name = "") {
  return value === undefined ? name : `${number(value)}: ${name}`;
}

function row(cells) {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** Three digits that count; null is what JSON makes of a figure that could not be measured. */
function number(value) {
  if (value === null) return "not measured";
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
