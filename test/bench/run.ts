// `npm run bench -- <name> [--only PART,PART] [--json FILE]`: runs one benchmark and prints its rows as a table; exit 1 when a
// target was missed. With --only the file keeps what it holds of the other parts; a benchmark with a picture writes it
// beside the file.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { type Bench, reaches, type Report, type Results, type Row, type Series } from "./bench.ts";

const BENCHES: Record<string, () => Promise<{ bench: Bench }>> = {
  "main-job": () => import("./main-job.ts"),
  governor: () => import("./governor.ts"),
  classify: () => import("./classify.ts"),
  journal: () => import("./journal.ts"),
};

const { values, positionals } = parseArgs({
  options: { json: { type: "string" }, only: { type: "string" }, help: { type: "boolean", short: "h" } },
  allowPositionals: true,
});
const load = BENCHES[positionals[0] ?? ""];
if (values.help || load === undefined) {
  console.log(
    `Usage: npm run bench -- <name> [--only PART,PART] [--json FILE]\nBenchmarks: ${Object.keys(BENCHES).join(", ")}`,
  );
  process.exit(values.help ? 0 : 64);
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
const { bench } = await load();
const only = values.only?.split(",") ?? [];
const unknown = only.filter((part) => !bench.parts?.includes(part));
if (unknown.length > 0) {
  console.error(`--only: ${bench.name} has no part "${unknown[0]}"; parts: ${bench.parts?.join(", ") ?? "none"}`);
  process.exit(64);
}
const machine = `${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
const date = new Date().toISOString().slice(0, 10);
console.log(`${bench.name}: ${bench.summary}\n${machine}, ${date}\n`);
const rows: Row[] = [];
const series: Series[] = [];
const report: Report = Object.assign(
  (row: Row) => {
    rows.push(row);
    console.log(line(row));
    if (values.json) keep(values.json);
  },
  { series: (one: Series) => void series.push(one) },
);
await bench.run(report, only);
process.exit(rows.some((row) => reaches(row) === false) ? 1 : 0);

/** After every row, so that a run that is cut short leaves what it measured. */
function keep(file: string): void {
  const before = only.length > 0 && existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Results) : undefined;
  const measured = new Set(only);
  const others = <Kept extends Row | Series>(kept: Kept[] = []) => kept.filter(({ part }) => !measured.has(part ?? ""));
  const order = (part = "") => bench.parts?.indexOf(part) ?? 0;
  const sorted = <Kept extends Row | Series>(kept: Kept[]) =>
    kept.sort((one, other) => order(one.part) - order(other.part));
  const allSeries = sorted([...others(before?.series), ...series]);
  const results: Results = {
    bench: bench.name,
    machine,
    date,
    rows: sorted([...others(before?.rows), ...rows]),
    ...(allSeries.length > 0 && { series: allSeries }),
  };
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  if (bench.picture) writeFileSync(file.replace(/\.json$/, ".svg"), bench.picture(results));
}

function line(row: Row): string {
  const mark = { true: "ok  ", false: "MISS", undefined: "    " }[
    String(reaches(row)) as "true" | "false" | "undefined"
  ];
  const measured = `${format(row.measured)} ${row.unit}`.padEnd(18);
  const target = row.target ? `target ${row.target}`.padEnd(16) : "".padEnd(16);
  const baseline =
    row.baseline === undefined ? (row.baseline_name ?? "") : `${row.baseline_name}: ${format(row.baseline)}`;
  return `${mark} ${row.case.padEnd(56)} ${measured} ${target} ${baseline}${row.note ? `  (${row.note})` : ""}`;
}

function format(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
