// What a model would do on a board that is not here: fit, context, speed, classification latency. Estimates from the file's
// header and the board table; this machine's own calibration stands beside them.
import type { Board, Figure } from "./boards.ts";
import {
  cacheBytesPerToken,
  type MemoryPlan,
  type MemoryShape,
  type ModelShape,
  planMemory,
  predictMemory,
} from "./memory-plan.ts";
import type { SpeedCurve } from "./speed-curve.ts";

export interface WhatIfInput {
  board: Board;
  model: ModelShape;
  kind: "decoder" | "encoder";
  wanted: MemoryShape;
  /** The encoder that the agent loads beside a generative model, in its shape. */
  encoder?: { name: string; model: ModelShape; wanted: MemoryShape };
  /** This machine's calibration of the same model, where there is one. */
  here?: SpeedCurve;
  /** What this machine has learnt of the memory that the model takes; see `learnMemory`. */
  correctionBytes?: number;
  /** Tokens of the message that is classified, after a prefix in the cache. */
  messageTokens?: number;
}

export interface WhatIf {
  plan: MemoryPlan;
  prefillTokensPerSecond: number;
  /** Undefined for an encoder, which writes nothing. */
  decodeTokensPerSecond?: number;
  /** Of a text, by this model alone. */
  classifyMs: number;
  /** Of a text, by the encoder beside it; undefined without one, or where both do not fit. */
  encoderClassifyMs?: number;
  /** The best speeds measured here, for comparison; undefined without a calibration. */
  here?: { prefillTokensPerSecond: number; decodeTokensPerSecond: number };
  /** Where each estimate comes from, and what about it is carried over. */
  notes: string[];
}

/** The agent beside its engine: measured 70 to 80 MiB. */
const DAEMON_BYTES = 75 * 1024 * 1024;
const MESSAGE_TOKENS = 30;
/** Half of the context is filled when a typical token is written. */
const TYPICAL_DEPTH = 0.5;
/** Types whose kernels exist for repacked weights where the CPU has a dot product and the rows are long enough. */
const REPACKABLE = ["Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"];
/** Bytes a parameter takes, by type. */
const BYTES_A_PARAMETER: Record<string, number> = {
  F32: 4,
  F16: 2,
  BF16: 2,
  Q8_0: 1.0625,
  Q6_K: 0.8203,
  Q5_K: 0.6875,
  Q5_0: 0.6875,
  Q5_1: 0.75,
  Q4_K: 0.5625,
  Q4_0: 0.5625,
  Q4_1: 0.625,
  IQ4_NL: 0.5625,
  MXFP4: 0.5313,
  Q3_K: 0.4297,
  Q2_K: 0.3281,
};
const COMMON_BYTES_A_PARAMETER = 0.6;

/** Parameters by the bytes of each type; a type without an entry counts as 4.8 bits. */
export function parametersOf(model: ModelShape): number {
  return Object.entries(model.bytesByType).reduce(
    (sum, [type, bytes]) => sum + bytes / (BYTES_A_PARAMETER[type] ?? COMMON_BYTES_A_PARAMETER),
    0,
  );
}

export function whatIf(input: WhatIfInput): WhatIf {
  const { board, model, kind, here, messageTokens = MESSAGE_TOKENS } = input;
  const { plan, beside } = planOn(input);
  const operations = operationsFor(model, board);
  const prefillTokensPerSecond = operations.value / (2 * parametersOf(model));
  const bytesAToken = model.fileBytes + plan.contextTokens * TYPICAL_DEPTH * cacheBytesPerToken(model);
  // Writing is bound by memory or by arithmetic, whichever is slower: a token is also a prompt of one.
  const decodeTokensPerSecond = Math.min(board.bandwidth.value / bytesAToken, prefillTokensPerSecond);
  const measured = here && { prefillTokensPerSecond: best(here.prefill), decodeTokensPerSecond: best(here.decode) };
  const classifyMs = (messageTokens * 1000) / prefillTokensPerSecond;
  return {
    plan,
    prefillTokensPerSecond,
    ...(kind === "decoder" && { decodeTokensPerSecond }),
    classifyMs,
    ...(beside && {
      encoderClassifyMs: messageTokens / (operationsFor(beside, board).value / 2000 / parametersOf(beside)),
    }),
    ...(measured && { here: measured }),
    notes: notesOf(input, { plan, beside, operations, prefillTokensPerSecond, measured }),
  };
}

/** Beside the encoder if both fit, else alone, as the agent itself does. */
function planOn(input: WhatIfInput): { plan: MemoryPlan; beside?: ModelShape } {
  const { board, model, kind, wanted, encoder, correctionBytes = 0 } = input;
  const repackedTypes = board.repackedOperations ? REPACKABLE : [];
  const budgetBytes = board.usableBytes - DAEMON_BYTES;
  const alone = { model, kind, repackedTypes, budgetBytes, wanted, correctionBytes };
  if (!encoder) return { plan: planMemory(alone) };
  const of = { model: encoder.model, kind: "encoder" as const, repackedTypes };
  const plan = planMemory({ ...alone, othersBytes: predictMemory(of, encoder.wanted).ownBytes });
  return plan.fits ? { plan, beside: encoder.model } : { plan: planMemory(alone) };
}

function operationsFor(model: ModelShape, board: Board): Figure {
  const repacked = REPACKABLE.reduce((sum, type) => sum + (model.bytesByType[type] ?? 0), 0) > model.fileBytes / 2;
  return (repacked && board.repackedOperations) || board.operations;
}

type Estimated = Pick<WhatIf, "plan" | "prefillTokensPerSecond"> & {
  beside: ModelShape | undefined;
  operations: Figure;
  measured: WhatIf["here"];
};

function notesOf({ board, kind, encoder, correctionBytes }: WhatIfInput, estimated: Estimated): string[] {
  const { beside, operations, prefillTokensPerSecond, measured } = estimated;
  const by = ({ guess, source }: Figure) => `estimated${guess ? " by a relative" : ""} from ${source}`;
  const left = `${mib(board.usableBytes)} of ${mib(board.memoryBytes)} MiB are left to programs`;
  const notes = [`fit and context: estimated from the file's header; ${left}`];
  if (correctionBytes) notes.push(`fit: corrected by what the model took on this machine, ${mib(correctionBytes)} MiB`);
  if (encoder && beside) notes.push(`fit: with ${encoder.name} beside it, which classifies`);
  if (encoder && !beside) notes.push(`fit: ${encoder.name} does not fit beside it; this model classifies`);
  notes.push(`reading: ${by(operations)}`);
  if (kind === "decoder") notes.push(`writing: ${by(board.bandwidth)}`);
  if (measured) {
    const share = (prefillTokensPerSecond / measured.prefillTokensPerSecond).toPrecision(1);
    notes.push(
      `this machine, measured: ${measured.prefillTokensPerSecond.toFixed(0)} tok/s read, ` +
        `${measured.decodeTokensPerSecond.toFixed(0)} written; the board would read ${share} times as fast`,
    );
  } else {
    notes.push("this machine: not calibrated with this model (pipit calibrate), so there is nothing to compare with");
  }
  return notes;
}

function best(speeds: Record<number, number>): number {
  return Math.max(0, ...Object.values(speeds));
}

const mib = (bytes: number) => (bytes / 1024 / 1024).toFixed(0);
