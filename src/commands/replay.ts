// `pipit replay trace.jsonl`: what the governor of today decides on the readings of a recorded trace, and how that differs
// from what it decided then. A trace of trouble becomes a test this way.
import { readFile } from "node:fs/promises";
import { PipitError } from "../core/errors.ts";
import { parseTrace, replay, type ReplayedSample, type ReplaySummary, summarise } from "../core/trace.ts";
import type { Command, CommandContext } from "./command.ts";
import { EXIT } from "./command.ts";
import { timeline } from "./terminal-plot.ts";

const WIDTH = 72;

export const command: Command = {
  name: "replay",
  summary: "run the governor over a recorded trace and show what it decides",
  help: `usage: pipit replay TRACE.jsonl [--json]

Runs the present policy over the readings of a trace that \`pipit run\` recorded and prints the threads over time, every
change with its reason, and how often the policy decides otherwise than the one that recorded.
Exit code 0; 64 without a file; 78 when the file is no trace.
`,
  options: {},
  run: runReplay,
};

async function runReplay({ positionals, stdout, stderr, json }: CommandContext): Promise<number> {
  const [path] = positionals;
  if (path === undefined || positionals.length > 1) {
    stderr("pipit replay needs one trace file, see pipit replay --help\n");
    return EXIT.usage;
  }
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new PipitError("config", "bad_trace", `${path} cannot be read`, { cause });
  });
  const samples = replay(parseTrace(text));
  const summary = summarise(samples);
  stdout(json ? `${JSON.stringify(asJson(samples, summary))}\n` : asText(samples, summary));
  return EXIT.ok;
}

function asJson(samples: ReplayedSample[], summary: ReplaySummary): object {
  const first = samples[0]?.readings.atMs ?? 0;
  return {
    samples: summary.samples,
    seconds: summary.seconds,
    changes: summary.changes,
    most_changes_a_minute: summary.mostChangesAMinute,
    seconds_at_decode_threads: summary.secondsAtDecodeThreads,
    different: summary.different,
    plan: samples.map(({ readings, decision, recorded }) => ({
      at_ms: Math.round(readings.atMs - first),
      foreign_cores: readings.foreignCores,
      threads: decision.threads,
      recorded_threads: recorded,
      cause: decision.cause,
      reason: decision.reason,
    })),
  };
}

function asText(samples: ReplayedSample[], summary: ReplaySummary): string {
  const first = samples[0]?.readings.atMs ?? 0;
  const row = (value: (sample: ReplayedSample) => number) =>
    timeline(
      samples.map((sample) => ({ atMs: sample.readings.atMs, value: value(sample) })),
      Math.max(1, ...samples.map(({ readings }) => readings.affinityCores)),
      WIDTH,
    );
  const changes = samples.filter(
    ({ decision }, index) =>
      index === 0 || JSON.stringify(decision.threads) !== JSON.stringify(samples[index - 1]?.decision.threads),
  );
  const seconds = (sample: ReplayedSample) => ((sample.readings.atMs - first) / 1000).toFixed(1).padStart(7);
  return [
    `neighbours │${row(({ readings }) => readings.foreignCores)}│`,
    `to read    │${row(({ decision }) => decision.threads.prefill)}│`,
    `to write   │${row(({ decision }) => decision.threads.decode)}│`,
    `recorded   │${row(({ recorded }) => recorded.decode)}│`,
    `            0 s${`${summary.seconds.toFixed(0)} s`.padStart(WIDTH - 3)}`,
    "",
    ...changes.map((sample) => `${seconds(sample)} s  ${sample.decision.reason}`),
    "",
    `${summary.samples} readings, ${summary.changes} changes, at most ${summary.mostChangesAMinute} in a minute; ` +
      `${summary.different} decided otherwise than recorded`,
    "",
  ].join("\n");
}
