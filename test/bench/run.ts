// `npm run bench -- <name> [--json FILE]`: runs one benchmark and prints its rows as a table; exit 1 when a target was missed.
import { writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { type Bench, reaches, type Row } from "./bench.ts";

const BENCHES: Record<string, () => Promise<{ bench: Bench }>> = {
  "main-job": () => import("./main-job.ts"),
  governor: () => import("./governor.ts"),
  classify: () => import("./classify.ts"),
  journal: () => import("./journal.ts"),
};

const { values, positionals } = parseArgs({
  options: { json: { type: "string" }, help: { type: "boolean", short: "h" } },
  allowPositionals: true,
});
const load = BENCHES[positionals[0] ?? ""];
if (values.help || load === undefined) {
  console.log(`Usage: npm run bench -- <name> [--json FILE]\nBenchmarks: ${Object.keys(BENCHES).join(", ")}`);
  process.exit(values.help ? 0 : 64);
}

const { bench } = await load();
const machine = `${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
const date = new Date().toISOString().slice(0, 10);
console.log(`${bench.name}: ${bench.summary}\n${machine}, ${date}\n`);
const rows: Row[] = [];
await bench.run((row) => {
  rows.push(row);
  console.log(line(row));
});
if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: bench.name, machine, date, rows }, null, 2)}\n`);
process.exit(rows.some((row) => reaches(row) === false) ? 1 : 0);

function line(row: Row): string {
  const mark = { true: "ok  ", false: "MISS", undefined: "    " }[
    String(reaches(row)) as "true" | "false" | "undefined"
  ];
  const measured = `${format(row.measured)} ${row.unit}`.padEnd(18);
  const target = row.target ? `target ${row.target}`.padEnd(16) : "".padEnd(16);
  const baseline =
    row.baseline === undefined ? (row.baseline_name ?? "") : `${row.baseline_name}: ${format(row.baseline)}`;
  return `${mark} ${row.case.padEnd(48)} ${measured} ${target} ${baseline}${row.note ? `  (${row.note})` : ""}`;
}

function format(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
