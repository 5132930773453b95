// Writes the measured figures into the documents, between two comments each, from docs/figures/*.json as `npm run bench -- NAME
// --json FILE`, `npm run chaos -- --json FILE` and the system tests with PIPIT_FIGURES_DIR make them; with --check only compares and
// exits 1 when a document has drifted.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, "docs/figures");

const HEAD = ["Case", "Measured", "Target", "Compared with"];
/** The rows of the README, by page. */
const HEADLINES = [
  [
    "main-job",
    [
      "tokens/s over MQTT",
      "published to received, minus engine, p50",
      "1 hog: over MQTT / best fixed",
      "1 hog: over MQTT / node-llama-cpp's default",
      "idle: CPU of the whole agent",
      "idle: RSS of the parent",
    ],
  ],
  [
    "classification",
    [
      "head, 8 examples a label: accuracy",
      "cascade, 8 examples a label: accuracy",
      "decoder, 8 examples a label: accuracy",
      "over MQTT: p50",
      "over MQTT: head, 8 in flight",
      "encoder alone in 256 MiB: PSS",
    ],
  ],
  [
    "governor",
    [
      "idle, decode: governed / best fixed",
      "2 hogs, decode: governed / best fixed",
      "hog appears, as calibrated: longest step after the first slow one",
      "1 s on, 1 s off, as calibrated: governed / oracle",
    ],
  ],
  ["memory", ["memory group of 384 MiB: questions lost", "memory group of 384 MiB: kills of the daemon"]],
  [
    "install",
    [
      "copied release and model to a first answer over MQTT, offline",
      "power cuts at 60 points of an update: healthy after the next boot, without a hand",
    ],
  ],
  [
    "fleet",
    [
      "good release to 10 boards with one command",
      "release that answers wrong: reverted at the canary of 10, the run has ended",
    ],
  ],
];

const figures = existsSync(folder)
  ? readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => ({
        ...JSON.parse(readFileSync(join(folder, name), "utf8")),
        page: `docs/${name.replace(/\.json$/, ".md")}`,
      }))
  : [];
/** Every file of rows has a page of its own, `docs/NAME.md`, with the two comments in it. */
const benches = figures.filter(({ rows }) => rows);
write("README.md", "figures", `\n${headlines()}\n`);
for (const bench of benches) write(bench.page, "figures", `\n${table(bench)}\n`);
// SECURITY.md has a table of the readers that are fuzzed.
const runs = figures.flatMap(({ runs = [] }) => runs).filter(({ run }) => run !== "fuzz");
write("docs/reliability.md", "chaos", runs.length === 0 ? "" : `\n${chaosTable(runs)}\n`);

/** What the README says of each page, in the order of `HEADLINES`. */
function headlines() {
  const lines = HEADLINES.flatMap(([name, cases]) => {
    const bench = figures.find(({ page }) => page === `docs/${name}.md`);
    return cases.map((wanted, index) => {
      const found = bench?.rows.find((one) => one.case === wanted);
      if (found === undefined) throw new Error(`docs/figures/${name}.json has no row ${JSON.stringify(wanted)}`);
      return [...cellsOf(found), index === 0 ? `[${name}](docs/${name}.md)` : ""];
    });
  });
  const head = [row([...HEAD, "All rows"]), row(["---", "---", "---", "---", "---"])];
  const machines = [...new Set(benches.map(({ machine }) => machine.split(",", 3).join(",")))].join("; ");
  return `On ${machines}; a figure that missed its target stands here as well.\n\n${[...head, ...lines.map(row)].join("\n")}\n`;
}

/** Puts the section between `<!-- mark: … -->` and `<!-- /mark -->`. */
function write(document, mark, section) {
  const file = join(root, document);
  const text = readFileSync(file, "utf8");
  const between = new RegExp(`(<!-- ${mark}:.*?-->\\n)[^]*?(<!-- /${mark} -->)`);
  if (!between.test(text))
    throw new Error(`${document} has no place for the ${mark}: <!-- ${mark}: … --> and <!-- /${mark} -->`);
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
    return row([
      run,
      test,
      engine,
      `${passed ? "" : "**failed**; "}${found.join(" · ")}`,
      `${size}, seed ${seed}, ${date}`,
    ]);
  });
  const head = [row(["Run", "What", "Engine", "Found", "Form"]), row(["---", "---", "---", "---", "---"])];
  const machines = [...new Set(runs.map(({ machine }) => machine))].join("; ");
  return `On ${machines}:\n\n${[...head, ...lines].join("\n")}`;
}

function table({ bench, command = `npm run bench -- ${bench}`, machine, date, rows }) {
  const head = [row(HEAD), row(["---", "---", "---", "---"])];
  return `\`${command}\`, ${date}, ${machine}:\n\n${[...head, ...rows.map((one) => row(cellsOf(one)))].join("\n")}\n`;
}

function cellsOf({ case: name, measured, unit, target, baseline, baseline_name: against }) {
  return [name, `${number(measured)} ${unit}`.trim(), target ?? "", compared(baseline, against)];
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
