// Loads that stay: an idle board, busy neighbours, limits of CPU. Governed answers and answers on every fixed count in turns.
import { setTimeout as sleep } from "node:timers/promises";
import { underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import { median, type Report } from "./bench.ts";
import { type Compared, GovernorRig, modelPath, SETTLE_MS } from "./governor-rig.ts";
import { defaultsTokensPerSecond } from "./library-defaults.ts";
import { besideHogs } from "./neighbours.ts";

const ROUNDS = 8;
const LIMIT_ROUNDS = 5;
/** One and two threads are within noise of each other here: the best of few rounds would be luck. */
const IDLE_ROUNDS = 15;

export async function idle(rig: GovernorRig, report: Report): Promise<void> {
  rig.beginTrace();
  const compared = await rig.against(IDLE_ROUNDS);
  rig.keepTrace("idle");
  for (const phase of ["decode", "prefill"] as const) {
    against(report, `idle, ${phase}`, compared[phase], ">= 0.95");
  }
  await overDefaults(report, "idle", compared.decode.governed);
}

export async function hogs(rig: GovernorRig, report: Report): Promise<void> {
  const plain = await GovernorRig.start({ scheduling: "default", card: rig.card });
  for (const [name, count, target] of [
    ["1 hog", 1, ">= 0.90"],
    ["2 hogs", 2, ">= 0.85"],
  ] as const) {
    await besideHogs(count, async () => {
      rig.beginTrace();
      const { decode, prefill } = await rig.against(ROUNDS);
      rig.keepTrace(name.replace(" ", "-"));
      against(report, `${name}, decode`, decode, target);
      against(report, `${name}, prefill`, prefill, target);
      await overDefaults(report, name, decode.governed);
      await priceOfScheduling(report, name, { rig, plain });
    });
    await sleep(SETTLE_MS);
  }
  await plain.stop();
}

/** What our scheduling of the compute threads costs beside neighbours who are no less patient. */
async function priceOfScheduling(report: Report, name: string, { rig, plain }: Record<"rig" | "plain", GovernorRig>) {
  const ours: number[] = [];
  const kernels: number[] = [];
  for (let round = 0; round < 2 * ROUNDS; round++) {
    ours.push((await rig.governed()).decode);
    kernels.push((await plain.governed()).decode);
  }
  report({
    case: `${name}, decode: scheduled by us / by the kernel alone`,
    measured: median(ours.map((speed, round) => speed / (kernels[round] ?? NaN))),
    unit: "x",
    baseline: median(kernels),
    baseline_name: "tok/s by the kernel alone",
    values: { ours: median(ours), kernels: median(kernels) },
  });
}

export async function limits(rig: GovernorRig, report: Report): Promise<void> {
  const why = whyNoGroups();
  const pids = [process.pid, rig.engine.status.pid as number];
  const cases = [
    ["cpuset of 1 core", "cpuset-1", { kind: "cpuset", cpus: "0" }],
    ["CPU quota of 50 %", "quota-50", { kind: "quota", cores: 0.5 }],
    ["CPU quota of 100 %", "quota-100", { kind: "quota", cores: 1 }],
    ["CPU quota of 150 %", "quota-150", { kind: "quota", cores: 1.5 }],
  ] as const;
  for (const [name, trace, limit] of cases) {
    if (why !== undefined) {
      report({ case: name, measured: NaN, unit: "x", baseline_name: `not measured: ${why}` });
      continue;
    }
    await underLimit(limit, pids, async () => {
      rig.beginTrace();
      await sleep(SETTLE_MS);
      const { decode, prefill } = await rig.against(LIMIT_ROUNDS);
      rig.keepTrace(trace);
      against(report, `${name}, decode`, decode, ">= 0.9");
      against(report, `${name}, prefill`, prefill, ">= 0.9");
    });
    await sleep(SETTLE_MS);
  }
}

function against(report: Report, name: string, compared: Compared, target: string): void {
  const { ratio, governed, best, threads, fixed } = compared;
  report({
    case: `${name}: governed / best fixed`,
    measured: ratio,
    unit: "x",
    target,
    baseline: best,
    baseline_name: `tok/s on ${threads} ${threads === 1 ? "thread" : "threads"}`,
    values: { governed, ...fixed },
  });
}

async function overDefaults(report: Report, name: string, governed: number): Promise<void> {
  const defaults = await defaultsTokensPerSecond(modelPath());
  report({
    case: `${name}, decode: governed / library's defaults`,
    measured: governed / defaults,
    unit: "x",
    baseline: defaults,
    baseline_name: "tok/s of node-llama-cpp's defaults",
    values: { governed, defaults },
  });
}
