// What a light neighbour feels of answers that are written beside it.
import { setTimeout as sleep } from "node:timers/promises";
import { quantile, type Report } from "./bench.ts";
import { GovernorRig } from "./governor-rig.ts";
import { lateness as latenessOfTicks } from "./neighbours.ts";

const FOR_MS = 15_000;
const ROUNDS = 4;

/** A task that wakes ten times a second, beside a silent agent and beside ones that answer, in turns. */
export async function lateness(rig: GovernorRig, report: Report): Promise<void> {
  const plain = await GovernorRig.start({ scheduling: "default", card: rig.card });
  const late = {
    idle: [] as number[],
    calibrated: [] as number[],
    uncalibrated: [] as number[],
    plain: [] as number[],
  };
  try {
    for (let round = 0; round < ROUNDS; round++) {
      late.idle.push(...(await latenessOfTicks(FOR_MS)));
      late.calibrated.push(...(await whileAnswering(rig, true)));
      if (round === 0) rig.keepTrace("10-hz-neighbour");
      late.plain.push(...(await whileAnswering(plain, true)));
      late.uncalibrated.push(...(await whileAnswering(rig, false)));
      if (round === 0) rig.keepTrace("10-hz-neighbour-uncalibrated");
    }
  } finally {
    await plain.stop();
    await rig.afresh({ calibrated: true });
  }
  const p99 = (values: number[]) => quantile(values, 0.99);
  const row = (name: string, values: number[], target?: string) =>
    report({
      case: `10 Hz neighbour, ${name}: p99 lateness / its own at idle`,
      measured: p99(values) / p99(late.idle),
      unit: "x",
      ...(target !== undefined && { target }),
      baseline: p99(late.idle),
      baseline_name: "ms at idle",
      values: { p50: quantile(values, 0.5), p95: quantile(values, 0.95), p99: p99(values), most: quantile(values, 1) },
      note: `${values.length} ticks; p50 ${quantile(values, 0.5).toFixed(2)}, p95 ${quantile(values, 0.95).toFixed(2)} ms`,
    });
  row("as calibrated", late.calibrated, "<= 1.5");
  row("uncalibrated, 2 threads", late.uncalibrated, "<= 1.5");
  row("scheduled by the kernel alone", late.plain);
}

async function whileAnswering(rig: GovernorRig, calibrated: boolean): Promise<number[]> {
  await rig.afresh({ calibrated });
  rig.beginTrace();
  const answers = rig.answerOn();
  await sleep(500);
  const ticks = await latenessOfTicks(FOR_MS);
  await answers.stop();
  return ticks;
}
