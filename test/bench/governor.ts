// The governor against the best fixed thread count, found by a sweep under the same load in the same run, and against the
// library's defaults. `--only idle,hogs` runs a part; `PIPIT_BENCH_TRACES=DIR` keeps a trace of each case.
import type { Bench, Report } from "./bench.ts";
import { arrival, bursty, departure } from "./governor-changes.ts";
import { group384Rows, group512Rows } from "./governor-group.ts";
import { lateness } from "./governor-lateness.ts";
import { hogs, idle, limits } from "./governor-loads.ts";
import { memoryRows } from "./governor-memory.ts";
import { drawGovernor } from "./governor-picture.ts";
import { poolRows } from "./governor-pool.ts";
import { type Case, GovernorRig, SETTLE_MS } from "./governor-rig.ts";
import { setTimeout as sleep } from "node:timers/promises";

/** Beside the engine and the governor, in a process of their own. */
const CASES: Record<string, Case> = { calibration, idle, hogs, limits, arrival, departure, bursty, lateness };
const OTHERS: Record<string, (report: Report) => Promise<void>> = {
  pool: poolRows,
  memory: memoryRows,
  "group-512": group512Rows,
  "group-384": group384Rows,
};
const PARTS = [...Object.keys(CASES), ...Object.keys(OTHERS)];

export const bench: Bench = {
  name: "governor",
  summary: "threads and memory by the governor against the best fixed choice under the same load",
  parts: PARTS,
  picture: drawGovernor,
  async run(report, only) {
    const wanted = only.length > 0 ? only : PARTS;
    const cases = Object.keys(CASES).filter((name) => wanted.includes(name));
    if (cases.length > 0) {
      const rig = await GovernorRig.start();
      try {
        for (const name of cases) {
          await rig.waitForCalm();
          await sleep(SETTLE_MS);
          await CASES[name]?.(rig, partOf(report, name));
        }
      } finally {
        await rig.stop();
      }
    }
    for (const [name, rows] of Object.entries(OTHERS)) if (wanted.includes(name)) await rows(partOf(report, name));
  },
};

function partOf(report: Report, part: string): Report {
  return Object.assign((row: Parameters<Report>[0]) => report({ ...row, part }), {
    series: (one: Parameters<Report["series"]>[0]) => report.series({ ...one, part }),
  });
}

function calibration(rig: GovernorRig, report: Report): Promise<void> {
  const { card } = rig;
  const note = card ? JSON.stringify(card.curve) : "no calm moment: the governor goes without a curve";
  report({ case: "calibration sweep", measured: (card?.tookMs ?? NaN) / 1000, unit: "s", target: "<= 40", note });
  for (const { sequences, threads, tokensPerSecond } of card?.batching ?? []) {
    const name = sequences === 1 ? "1 answer" : `${sequences} answers side by side`;
    report({ case: name, measured: tokensPerSecond, unit: "tok/s in all", note: `best on ${threads} threads` });
  }
  return Promise.resolve();
}
