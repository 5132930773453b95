// What a model would do on a board that is not here: fit, context, speed, classification latency. Estimates from the file's
// header and the board table; this machine's own calibration stands beside them.
import type { Board } from "./boards.ts";
import { cacheBytesPerToken, type MemoryPlan, type MemoryShape, type ModelShape, planMemory } from "./memory-plan.ts";
import type { SpeedCurve } from "./speed-curve.ts";

export interface WhatIfInput {
  board: Board;
  model: ModelShape;
  kind: "decoder" | "encoder";
  wanted: MemoryShape;
  /** This machine's calibration of the same model, where there is one. */
  here?: SpeedCurve;
  /** Tokens of the message that is classified, after a prefix in the cache. */
  messageTokens?: number;
}

export interface WhatIf {
  plan: MemoryPlan;
  prefillTokensPerSecond: number;
  /** Undefined for an encoder, which writes nothing. */
  decodeTokensPerSecond?: number;
  classifyMs: number;
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
  const { board, model, kind, wanted, here, messageTokens = MESSAGE_TOKENS } = input;
  const repackedTypes = board.repackedOperations ? REPACKABLE : [];
  const budgetBytes = board.usableBytes - DAEMON_BYTES;
  const plan = planMemory({ model, kind, repackedTypes, budgetBytes, wanted });
  const repackedBytes = repackedTypes.reduce((sum, type) => sum + (model.bytesByType[type] ?? 0), 0);
  const repacked = repackedBytes > model.fileBytes / 2;
  const operations = (repacked && board.repackedOperations) || board.operations;
  const prefillTokensPerSecond = operations.value / (2 * parametersOf(model));
  const bytesAToken = model.fileBytes + plan.contextTokens * TYPICAL_DEPTH * cacheBytesPerToken(model);
  // Writing is bound by memory or by arithmetic, whichever is slower: a token is also a prompt of one.
  const decodeTokensPerSecond = Math.min(board.bandwidth.value / bytesAToken, prefillTokensPerSecond);
  const measured = here && { prefillTokensPerSecond: best(here.prefill), decodeTokensPerSecond: best(here.decode) };
  const notes = [
    `fit and context: estimated from the file's header; ${mib(board.usableBytes)} of ${mib(board.memoryBytes)} MiB are left to programs`,
    `reading: estimated${operations.guess ? " by a relative" : ""} from ${operations.source}`,
    ...(kind === "decoder"
      ? [`writing: estimated${board.bandwidth.guess ? " by a relative" : ""} from ${board.bandwidth.source}`]
      : []),
  ];
  if (measured) {
    notes.push(
      `this machine, measured: ${measured.prefillTokensPerSecond.toFixed(0)} tok/s read, ` +
        `${measured.decodeTokensPerSecond.toFixed(0)} written`,
    );
  }
  return {
    plan,
    prefillTokensPerSecond,
    ...(kind === "decoder" && { decodeTokensPerSecond }),
    classifyMs: (messageTokens * 1000) / prefillTokensPerSecond,
    ...(measured && { here: measured }),
    notes,
  };
}

function best(speeds: Record<number, number>): number {
  return Math.max(0, ...Object.values(speeds));
}

const mib = (bytes: number) => (bytes / 1024 / 1024).toFixed(0);
