// npm run chaos: kills, cuts, floods and fills everything around the agent, compares what was asked with what was answered, and
// prints a table. The runs are those of the tests, in their short form (minutes) or their long one (hours).
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const RUNS = {
  kill: { what: "SIGKILL of the agent", files: ["test/chaos/kill"] },
  recovery: { what: "time until the agent is back after SIGKILL, with the real model", files: ["test/chaos/recovery"] },
  link: { what: "cuts, half-open connections, latency, slicing", files: ["test/chaos/link"] },
  broker: { what: "SIGTERM and SIGKILL of mosquitto", files: ["test/chaos/broker"] },
  child: { what: "SIGKILL, abort and OOM kill of the model's process", files: ["test/chaos/child"] },
  power: { what: "a power cut at every write", files: ["test/unit/journal/power-cut"] },
  disk: {
    what: "disk full, and ENOSPC and EIO at every write",
    files: ["test/chaos/disk", "test/unit/journal/disk-faults"],
  },
  flood: { what: "10,000 questions at once", files: ["test/chaos/flood"] },
  fuzz: { what: "broken input to every reader", files: ["test/fuzz"] },
  soak: { what: "an ordinary day, and what grows in it", files: ["test/chaos/soak"] },
};
const USAGE = `Usage: npm run chaos -- [--long] [--only RUN[,RUN…]] [--seed N] [--minutes N] [--json FILE]

${Object.entries(RUNS)
  .map(([name, { what }]) => `  ${name.padEnd(8)} ${what}`)
  .join("\n")}

  --long       the long form: hours, 8 of them the soak
  --only       some of the runs (default: all)
  --seed       of the random choices (default: 1)
  --minutes    length of the soak (default: 5, long 480)
  --json FILE  adds the figures to FILE; those of the same run and form are replaced

Needs mosquitto; child and disk need root. docs/reliability.md says what each run shows.`;

function fail(message) {
  console.error(`chaos: ${message}\n\n${USAGE}`);
  process.exit(64);
}

let values;
try {
  ({ values } = parseArgs({
    options: {
      long: { type: "boolean", default: false },
      only: { type: "string" },
      seed: { type: "string", default: "1" },
      minutes: { type: "string" },
      json: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  }));
} catch (error) {
  fail(error.message);
}
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const names = values.only?.split(",") ?? Object.keys(RUNS);
for (const name of names) if (!(name in RUNS)) fail(`--only: there is no run "${name}"`);
if (!/^\d{1,9}$/.test(values.seed)) fail(`--seed must be a whole number of at most 9 digits, not "${values.seed}"`);
if (values.minutes !== undefined && !(Number(values.minutes) >= 1))
  fail(`--minutes must be 1 or more, not "${values.minutes}"`);

const size = values.long ? "long" : "short";
const directory = mkdtempSync(join(tmpdir(), "pipit-chaos-run-"));
const files = {
  figures: join(directory, "figures"),
  fuzz: join(directory, "fuzz"),
  results: join(directory, "results.json"),
};
console.log(`chaos: ${names.join(", ")}; ${size} form, seed ${values.seed}`);
const code = await vitest();
const tests = testResults();
const runs = [...figuresOfTests(), ...figuresOfFuzzing()];
rmSync(directory, { recursive: true });
console.log(`\n${[...runs.map(line), ...skipped()].join("\n")}\n`);
if (values.json !== undefined) keep(values.json);
process.exit(code !== 0 || runs.some(({ missed }) => missed.length > 0) ? 1 : 0);

function vitest() {
  const projects = ["chaos", "unit", "fuzz"].flatMap((name) => ["--project", name]);
  const filters = names.flatMap((name) => RUNS[name].files);
  // A filter behind a flag without a value would be taken for its value.
  const options = [
    "--disable-console-intercept",
    "--reporter=verbose",
    "--reporter=json",
    `--outputFile.json=${files.results}`,
  ];
  const child = spawn("npx", ["vitest", "run", ...options, ...projects, ...filters], {
    stdio: "inherit",
    detached: true,
    env: {
      ...process.env,
      PIPIT_FIGURES: files.figures,
      PIPIT_FUZZ_REPORT: files.fuzz,
      PIPIT_FUZZ_SEED: values.seed,
      PIPIT_CHAOS_SEED: values.seed,
      ...(values.long && { PIPIT_CHAOS: "long", PIPIT_FUZZ_INPUTS: process.env.PIPIT_FUZZ_INPUTS ?? "1000000" }),
      ...(values.minutes !== undefined && { PIPIT_SOAK_MINUTES: values.minutes }),
    },
  });
  // A worker that outlives vitest would go on with its brokers and agents: all of them are one process group.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.kill(-child.pid, "SIGTERM"));
  return new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
}

function testResults() {
  const results = existsSync(files.results) ? JSON.parse(readFileSync(files.results, "utf8")).testResults : [];
  return results.flatMap(({ assertionResults }) => assertionResults);
}

/** The reason is part of the name. */
function skipped() {
  return tests
    .filter(({ status }) => ["skipped", "pending"].includes(status))
    .map(({ fullName }) => `skipped: ${fullName}`);
}

/** What the tests have left behind, with what became of each test. */
function figuresOfTests() {
  return linesOf(files.figures).map((entry) => {
    const result = tests.find(({ fullName }) => fullName === entry.test);
    return { ...entry, passed: result?.status === "passed", seconds: Math.round((result?.duration ?? 0) / 1000) };
  });
}

/** A reader that fails leaves no line: its failure is in the exit code and above. */
function figuresOfFuzzing() {
  return linesOf(files.fuzz).map(({ fuzz, inputs, ms, seed, outcomes }) => {
    const figures = { inputs, uncaught: 0, ...outcomes };
    return {
      run: "fuzz",
      test: fuzz,
      engine: "none",
      size,
      seed,
      figures,
      targets: {},
      missed: [],
      passed: true,
      seconds: Math.round(ms / 1000),
    };
  });
}

function linesOf(file) {
  return existsSync(file)
    ? readFileSync(file, "utf8")
        .trimEnd()
        .split("\n")
        .map((text) => JSON.parse(text))
    : [];
}

function line({ run, test, engine, figures, targets, missed, passed, seconds }) {
  const found = Object.entries(figures).map(([phrase, value]) => {
    const target = targets[phrase] === undefined ? "" : ` (target ${targets[phrase]})`;
    return `${missed.includes(phrase) ? "MISSED " : ""}${phrase} ${value}${target}`;
  });
  const mark = !passed ? "FAIL" : missed.length > 0 ? "MISS" : "ok  ";
  return `${mark} ${run.padEnd(8)} ${test} (${engine}; ${seconds} s)\n       ${found.join(" · ")}`;
}

function keep(file) {
  const machine = `${cpus()[0]?.model.trim() ?? "unknown CPU"}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
  const date = new Date().toISOString().slice(0, 10);
  const known = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).runs : [];
  const isNew = (old) => !runs.some((entry) => entry.test === old.test && entry.size === old.size);
  const order = Object.keys(RUNS);
  const all = [...known.filter(isNew), ...runs.map((entry) => ({ ...entry, date, machine }))];
  all.sort((one, other) => order.indexOf(one.run) - order.indexOf(other.run) || one.test.localeCompare(other.test));
  writeFileSync(file, `${JSON.stringify({ command: "npm run chaos", runs: all }, null, 2)}\n`);
}
