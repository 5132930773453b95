// What the daemon and the model's process say to each other. Sent with structured clone, so that vectors stay binary.
import type { ErrorKind } from "../core/errors.ts";
import type { ThreadPlan } from "../core/plan.ts";
import type {
  EmbedOptions,
  Embeddings,
  EngineReading,
  GenerateJob,
  LoadedModel,
  ModelSpec,
  Piece,
  ScoreJob,
  Scores,
  Step,
  Turn,
} from "../core/ports.ts";

/** Every call with its argument and its result. */
export interface Calls {
  load: [spec: ModelSpec, result: LoadedModel];
  unload: [which: { kind: ModelSpec["kind"]; path?: string | undefined }, result: null];
  generate: [job: GenerateJob, result: null];
  score: [job: ScoreJob, result: Scores];
  embed: [job: { texts: string[]; options: EmbedOptions }, result: Embeddings];
  readout: [pages: string[], result: Embeddings];
  tokenize: [turns: Turn[], result: number[]];
  measure: [nothing: null, result: EngineReading];
}
export type CallName = keyof Calls;
export type Argument<Name extends CallName> = Calls[Name][0];
export type Result<Name extends CallName> = Calls[Name][1];

export type ToChild =
  | { type: "call"; id: number; name: CallName; argument: unknown }
  | { type: "abort"; id: number }
  | { type: "threads"; threads: ThreadPlan; restRatio: number; yielding: boolean };

export interface WireError {
  kind: ErrorKind;
  code: string;
  message: string;
}

export type FromChild =
  | { type: "up" }
  | { type: "result"; id: number; value: unknown }
  | { type: "error"; id: number; error: WireError }
  | { type: "piece"; id: number; piece: Piece }
  | { type: "progress"; id: number; fraction: number }
  | { type: "steps"; steps: Step[] };
