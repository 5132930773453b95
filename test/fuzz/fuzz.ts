// Seeded fuzzing: each input is made from a number of its own, so that a failure can be run again alone. Besides what the
// code under test throws, what is thrown or rejected behind its back counts as a failure of the input of that moment.
//   PIPIT_FUZZ_INPUTS  inputs for each reader, 100000 unless set
//   PIPIT_FUZZ_SEED    number of the first input
import { appendFileSync } from "node:fs";
import { PipitError, RequestError } from "../../src/core/errors.ts";
import { Random } from "../fakes/random.ts";

const INPUTS = Number(process.env["PIPIT_FUZZ_INPUTS"] ?? 100_000);
const SEED = Number(process.env["PIPIT_FUZZ_SEED"] ?? 1);
/** Generous: the long form has ten times the inputs, and other work may have the cores. */
export const TIMEOUT_MS = 60_000 + INPUTS * 10;

export interface Fuzz<T> {
  name: string;
  make: (random: Random) => T;
  /** Throws for an input that was not handled as promised. Told apart by what it returns, for the figures. */
  run: (input: T, random: Random) => string | Promise<string>;
  show?: (input: T) => string;
  /** Inputs under way at once, for readers that wait for the disk or the network. */
  side?: number;
  /** The part of the inputs that is enough: for conversations of several frames, and for what is not on the list. */
  part?: number;
}

/** Runs all inputs; throws with seed and input at the first that fails. Leaves a line of figures. */
export async function fuzz<T>({ name, make, run, show = describeInput, side = 1, part = 1 }: Fuzz<T>): Promise<void> {
  const inputs = Math.max(1, Math.round(INPUTS * part));
  const outcomes = new Map<string, number>();
  const behind: unknown[] = [];
  const note = (error: unknown) => behind.push(error);
  process.on("uncaughtException", note).on("unhandledRejection", note);
  const startedMs = performance.now();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < inputs && behind.length === 0) {
      const seed = SEED + next++;
      const random = new Random(seed);
      const input = make(random);
      try {
        const outcome = run(input, random);
        const kind = typeof outcome === "string" ? outcome : await outcome;
        outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
        if (behind.length > 0) throw behind[0];
      } catch (error) {
        const again = `PIPIT_FUZZ_SEED=${seed} PIPIT_FUZZ_INPUTS=1 npx vitest run --project fuzz -t "${name}"`;
        throw new Error(`${name}: input ${seed} (${again}):\n${show(input)}`, { cause: error });
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: side }, worker));
    if (behind.length > 0) throw behind[0];
  } finally {
    process.off("uncaughtException", note).off("unhandledRejection", note);
  }
  report(name, inputs, Math.round(performance.now() - startedMs), outcomes);
}

function report(name: string, inputs: number, ms: number, outcomes: ReadonlyMap<string, number>): void {
  const line = JSON.stringify({ fuzz: name, seed: SEED, inputs, ms, outcomes: Object.fromEntries(outcomes) });
  console.log(line);
  const file = process.env["PIPIT_FUZZ_REPORT"];
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}

/** The outcome of `read`: taken, or refused by an error of the kind that is promised; anything else is thrown on. */
export async function outcomeOf(kind: PipitError["kind"], read: () => unknown): Promise<string> {
  try {
    await read();
    return "taken";
  } catch (error) {
    if (error instanceof PipitError && error.kind === kind && error.message.length < 60_000) {
      return error instanceof RequestError ? error.code : "refused";
    }
    throw error;
  }
}

function describeInput(input: unknown): string {
  if (input instanceof Uint8Array) return `hex ${Buffer.from(input).toString("hex").slice(0, 20_000)}`;
  return JSON.stringify(input, (_, value: unknown) =>
    value instanceof Uint8Array ? `hex ${Buffer.from(value).toString("hex")}` : value,
  ).slice(0, 20_000);
}
