// Neighbours that come, go and return while answers are written; coming and going calibrated and not.
import { setTimeout as sleep } from "node:timers/promises";
import { parseTrace, replay, summarise } from "../../src/core/trace.ts";
import { median, type Report } from "./bench.ts";
import { type GovernorRig, LONG_TOKENS } from "./governor-rig.ts";
import { besideHogs, bursts, Hog } from "./neighbours.ts";

const ROUNDS = 4;
/** A step longer than this beside a hog is a collision of threads. */
const SLOW_MS = 40;

/** A hog appears in the middle of an answer. */
export async function arrival(rig: GovernorRig, report: Report): Promise<void> {
  const best = await besideHogs(1, async () => (await rig.against(2, LONG_TOKENS)).decode.best);
  await rig.inVariants(async (settings) => {
    const { variant, file } = settings;
    const rounds: { longestMs: number; firstMs: number; speed: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await rig.afresh(settings);
      rig.beginTrace();
      const startMs = performance.now();
      const answers = rig.answerOn();
      await sleep(2000);
      const hog = new Hog();
      const cameMs = performance.now();
      await sleep(4500);
      await answers.stop();
      await hog.stop();
      if (round === 0) report.series(rig.series(`a hog appears, ${variant}`, startMs, { "hog comes": cameMs }));
      const after = rig.steps.filter(({ phase, endedMs }) => phase === "decode" && endedMs > cameMs);
      const firstSlow = after.findIndex(({ ms }) => ms > SLOW_MS);
      rounds.push({
        firstMs: after[firstSlow]?.ms ?? 0,
        longestMs: Math.max(0, ...after.slice(firstSlow + 1).map(({ ms }) => ms)),
        speed: rig.speedBetween(cameMs + 2000, cameMs + 4000),
      });
    }
    rig.keepTrace(`hog-appears${file}`);
    report({
      case: `hog appears, ${variant}: longest step after the first slow one`,
      measured: Math.max(...rounds.map(({ longestMs }) => longestMs)),
      unit: "ms",
      target: "<= 1500",
      note: `the worst of ${ROUNDS} rounds; first slow steps: ${rounds.map(({ firstMs }) => firstMs.toFixed(0)).join(", ")} ms`,
    });
    report({
      case: `hog appears, ${variant}: 2 to 4 s later / best fixed`,
      measured: median(rounds.map(({ speed }) => speed / best)),
      unit: "x",
      target: ">= 0.8",
      baseline: best,
      baseline_name: "tok/s beside a hog",
    });
  });
}

/** A hog leaves in the middle of an answer. */
export async function departure(rig: GovernorRig, report: Report): Promise<void> {
  const WATCHED_MS = 10_000;
  const calm = (await rig.against(2, LONG_TOKENS)).decode.best;
  await rig.inVariants(async (settings) => {
    const { variant, file } = settings;
    await rig.afresh(settings);
    const calmThreads = rig.governor.current.threads.decode;
    const speedSeconds: number[] = [];
    const threadSeconds: number[] = [];
    for (let round = 0; round < 3; round++) {
      await rig.afresh(settings);
      rig.beginTrace();
      const hog = new Hog();
      await sleep(2000);
      const startMs = performance.now();
      const answers = rig.answerOn();
      await sleep(2000);
      await hog.stop();
      const leftMs = performance.now();
      await sleep(WATCHED_MS);
      await answers.stop();
      if (round === 0) report.series(rig.series(`a hog leaves, ${variant}`, startMs, { "hog leaves": leftMs }));
      const back = Array.from({ length: WATCHED_MS / 250 - 4 }, (_, quarter) => leftMs + quarter * 250).find(
        (from) => rig.speedBetween(from, from + 1000) >= 0.9 * calm,
      );
      speedSeconds.push(back === undefined ? Infinity : (back + 1000 - leftMs) / 1000);
      const raised = rig
        .samples()
        .find(({ readings, threads }) => readings.atMs > leftMs && threads.decode >= calmThreads);
      threadSeconds.push(raised === undefined ? Infinity : (raised.readings.atMs - leftMs) / 1000);
    }
    rig.keepTrace(`hog-leaves${file}`);
    report({
      case: `hog leaves, ${variant}: back at 0.9 of calm after`,
      measured: median(speedSeconds),
      unit: "s",
      target: "<= 20",
      baseline: calm,
      baseline_name: "tok/s when calm",
      note: `measured over a second; ${calmThreads} threads again after ${median(threadSeconds).toFixed(1)} s`,
    });
  });
}

/** One second of work, one of rest, for a minute. */
export async function bursty(rig: GovernorRig, report: Report): Promise<void> {
  const FOR_MS = 60_000;
  const calm = (await rig.against(2, LONG_TOKENS)).decode.best;
  const busy = await besideHogs(1, async () => (await rig.against(2, LONG_TOKENS)).decode.best);
  await rig.afresh({ calibrated: true });
  rig.beginTrace();
  const over = sleep(FOR_MS);
  const startMs = performance.now();
  const answers = rig.answerOn();
  await bursts(1000, 1000, over);
  await answers.stop();
  report.series(rig.series("1 s on, 1 s off, as calibrated", startMs, {}));
  const oracle = (calm + busy) / 2;
  report({
    case: "1 s on, 1 s off, as calibrated: governed / oracle",
    measured: rig.speedBetween(startMs, startMs + FOR_MS) / oracle,
    unit: "x",
    target: ">= 0.75",
    baseline: oracle,
    baseline_name: "tok/s of an oracle",
    values: { calm, busy },
  });
  report({
    case: "1 s on, 1 s off, as calibrated: changes a minute",
    measured: summarise(replay(parseTrace(rig.keepTrace("bursty")))).mostChangesAMinute,
    unit: "",
    target: "<= 6",
  });
}
