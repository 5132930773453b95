// Writes the measured figures into the documents, between two comments each, from docs/figures/*.json as `npm run bench -- NAME
// --json FILE`, `npm run chaos -- --json FILE` and the system tests with PIPIT_FIGURES_DIR make them; with --check only compares and
// exits 1 when a document has drifted.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, "docs/figures");

const figures = existsSync(folder)
  ? readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => ({
        ...JSON.parse(readFileSync(join(folder, name), "utf8")),
        page: `docs/${name.replace(/\.json$/, ".md")}`,
      }))
  : [];
const benches = figures.filter(({ rows }) => rows).map((bench) => (hasPage(bench) ? brief(bench) : table(bench)));
write("README.md", "figures", benches.length === 0 ? "" : `\n## Measured\n\n${benches.join("\n")}\n`);
for (const bench of figures.filter(hasPage)) write(bench.page, "figures", `\n${table(bench)}\n`);
// SECURITY.md has a table of the readers that are fuzzed.
const runs = figures.flatMap(({ runs = [] }) => runs).filter(({ run }) => run !== "fuzz");
write("docs/reliability.md", "chaos", runs.length === 0 ? "" : `\n${chaosTable(runs)}\n`);

/** `docs/figures/NAME.json` with many rows has a page of its own, `docs/NAME.md`, with the two comments in it. */
function hasPage({ rows, page }) {
  const file = join(root, page);
  return rows && existsSync(file) && readFileSync(file, "utf8").includes("<!-- figures:");
}

/** What is held to a target. */
function brief(bench) {
  const rows = bench.rows.filter(({ target }) => target !== undefined);
  return `${table({ ...bench, rows })}\nAll rows, and how it works: [${bench.page}](${bench.page})\n`;
}

/** Puts the section between `<!-- mark: … -->` and `<!-- /mark -->`. */
function write(document, mark, section) {
  const file = join(root, document);
  const text = readFileSync(file, "utf8");
  const between = new RegExp(`(<!-- ${mark}:.*?-->\\n)[^]*?(<!-- /${mark} -->)`);
  const wanted = text.replace(between, (_, open, close) => `${open}${section}${close}`);
  if (!process.argv.includes("--check")) writeFileSync(file, wanted);
  else if (wanted !== text) {
    process.stderr.write(`${document} has other figures than docs/figures: run node scripts/generate-figures.mjs\n`);
    process.exitCode = 1;
  }
}

function chaosTable(runs) {
  const lines = runs.map(({ run, test, engine, size, seed, date, figures, targets, missed, passed }) => {
    const found = Object.entries(figures).map(([phrase, value]) => {
      const target = targets[phrase] === undefined ? "" : ` (target ${targets[phrase]})`;
      return missed.includes(phrase) ? `**missed: ${phrase} ${value}${target}**` : `${phrase} ${value}${target}`;
    });
    return row([run, test, engine, `${passed ? "" : "**failed**; "}${found.join(" · ")}`, `${size}, seed ${seed}, ${date}`]);
  });
  const head = [row(["Run", "What", "Engine", "Found", "Form"]), row(["---", "---", "---", "---", "---"])];
  const machines = [...new Set(runs.map(({ machine }) => machine))].join("; ");
  return `On ${machines}:\n\n${[...head, ...lines].join("\n")}`;
}

function table({ bench, command = `npm run bench -- ${bench}`, machine, date, rows }) {
  const lines = rows.map(({ case: name, measured, unit, target, baseline, baseline_name: against }) =>
    row([name, `${number(measured)} ${unit}`, target ?? "", compared(baseline, against)]),
  );
  const head = [row(["Case", "Measured", "Target", "Compared with"]), row(["---", "---", "---", "---"])];
  return `\`${command}\`, ${date}, ${machine}:\n\n${[...head, ...lines].join("\n")}\n`;
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
