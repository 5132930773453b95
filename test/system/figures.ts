// Figures that a test measured, kept when PIPIT_FIGURES_DIR names a folder (docs/figures): one file for each bench, with rows as
// scripts/generate-figures.mjs reads them. Test files add to one another's rows; a case measured again replaces its row.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { FULL } from "./level.ts";

export interface Figure {
  case: string;
  measured: number;
  unit: string;
  target?: string;
}

interface Kept {
  machine: string;
  rows: Figure[];
}

export function keepFigure(bench: string, command: string, figure: Figure): void {
  const rounded = { ...figure, measured: Number(figure.measured.toPrecision(3)) };
  console.log(`${figure.case}: ${rounded.measured} ${figure.unit}${figure.target ? ` (${figure.target})` : ""}`);
  const folder = process.env["PIPIT_FIGURES_DIR"];
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${bench}.json`);
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Kept) : undefined;
  const plain = `${cpus()[0]?.model.trim() ?? "unknown"}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`;
  // What somebody wrote behind it, such as what else ran there, stays.
  const machine = before?.machine.startsWith(plain) ? before.machine : plain;
  const rows = [...(before?.rows ?? []).filter((row) => row.case !== figure.case), rounded];
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(file, `${JSON.stringify({ bench, command, machine, date, rows }, undefined, 2)}\n`);
}

/** A figure of docs/install.md, which three test files fill. */
export function keepBoardFigure(what: string, measured: number, unit: string, target?: string): void {
  const files = "test/system/{install,faults,power-cut}.test.ts";
  const command = `PIPIT_TEST_SYSTEM=${FULL ? "full" : "ci"} npx vitest run --project system ${files}`;
  keepFigure("install", command, { case: what, measured, unit, ...(target && { target }) });
}
