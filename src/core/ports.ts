// The interfaces between floors: `work/` knows the rooms below it only by these. Each promises what its comment says;
// `test/contract` holds one suite per port, run for the fake and for the real room.
import type { Attempts } from "./attempts.ts";
import type { IncomingMessage, OutgoingMessage } from "./message.ts";
import type { Manners, ThreadPlan } from "./plan.ts";

/** Time, injected so that tests own it. */
export interface Clock {
  /** Monotonic milliseconds: deadlines and durations. */
  nowMs(): number;
  /** Wall clock, milliseconds since 1970: only for what is written down or shown. */
  wallMs(): number;
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

/** A logger a room receives; `pino` fits. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Logger;
}

// ── MQTT ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export type LinkState = "connecting" | "online" | "offline";

export interface LinkStatus {
  state: LinkState;
  /** 5 or 4 (3.1.1); undefined before the first connection. */
  protocolVersion?: number;
  /** The last reason the link fell or could not be made, in words. */
  reason?: string;
  /** Connections made since start. */
  connects: number;
}

export interface Link {
  readonly status: LinkStatus;
  /** Begins connecting and returns at once: an absent broker is a state, not a failure. */
  start(signal?: AbortSignal): Promise<void>;
  /** Publishes `offline`, disconnects cleanly (the broker drops the will) and releases the socket. Idempotent. */
  stop(): Promise<void>;
  /** Resolves when the broker has acknowledged (QoS 1); rejects with a `transient` PipitError if the link falls first. */
  publish(message: OutgoingMessage): Promise<void>;
}

/** Called for each request; the PUBACK is sent when the promise resolves and withheld when it rejects. */
export type MessageHandler = (message: IncomingMessage) => Promise<void>;

// ── Engine ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Turn {
  role: "system" | "user" | "assistant";
  /** Plain text: whatever looks like a control token of the model is tokenised as text. */
  text: string;
}

/** What a model needs to be loaded; every number is explicit, nothing is left to the library to guess. */
export interface ModelSpec {
  /** Name as in the catalogue and in replies. */
  name: string;
  /** Verified GGUF file. */
  path: string;
  kind: "decoder" | "encoder";
  contextTokens: number;
  batchTokens: number;
  sequences: number;
  /** Upper bound of compute threads for the life of the context: the allowed cores. */
  maxThreads: number;
  /** Of an encoder: stands before every text that it reads, as its makers want it. */
  prefix?: string;
}

export interface LoadedModel {
  name: string;
  kind: "decoder" | "encoder";
  contextTokens: number;
  trainContextTokens: number;
  vocabularyTokens: number;
  loadMs: number;
  /** Memory of the child right after the load. */
  memory: ProcessMemory;
}

export interface ProcessMemory {
  rssBytes: number;
  /** Private memory: heap, key-value cache, repacked weights. The kernel cannot drop it. */
  anonymousBytes: number;
  /** Mapped files, above all the weights: evictable, at the price of reading them again. */
  fileBytes: number;
}

export interface Usage {
  promptTokens: number;
  /** Prompt tokens found in the key-value cache and not evaluated again. */
  cachedTokens: number;
  completionTokens: number;
}

export interface GenerateJob {
  id: string;
  /** Conversation with the question last. What never changes stands first, so that its prefix stays cached. */
  turns: Turn[];
  maxTokens: number;
  /** 0 is greedy and repeatable. */
  temperature: number;
  /** Random seed, for temperatures above 0. */
  seed?: number;
}

export type Finish = "stop" | "length";

export type Piece =
  { kind: "text"; text: string } | { kind: "end"; finish: Finish; usage: Usage; prefillMs: number; generateMs: number };

/** One label to be scored: the text the model would have to write as its answer. */
export interface ScoreJob {
  id: string;
  /** A conversation, or plain text that the answer continues; in both, control tokens spelled out are plain text. */
  turns: Turn[] | string;
  /** Candidate answers, in the order of the result. */
  candidates: string[];
}

export interface Scores {
  /** Natural log of the probability of each candidate and of the tokens it takes, given the turns. */
  logProbabilities: { sum: number; tokens: number }[];
  usage: Usage;
  prefillMs: number;
}

export interface EmbedOptions {
  /** File of the encoder, where several are loaded; undefined takes any. */
  path?: string;
  /** Read as much of a text as fits, where more would be `too_long`. */
  cut?: boolean;
}

export interface Embeddings {
  /** One vector a text, not normalised, in the order given. */
  vectors: Float32Array[];
  /** Tokens read of each text. */
  tokens: number[];
  /** Whether the text had more. */
  cut: boolean[];
}

/** One evaluated batch, reported as it ends: what the governor steers by. */
export interface Step {
  phase: "prefill" | "decode";
  tokens: number;
  threads: number;
  ms: number;
}

export interface EngineStatus {
  state: "stopped" | "empty" | "loading" | "ready" | "restarting";
  model?: LoadedModel;
  pid?: number;
  /** Deaths of the child since start, and the last one in words. */
  deaths: number;
  lastDeath?: string;
}

export interface EngineReading {
  memory: ProcessMemory;
  /** CPU time of the child, user and system, since it started. */
  cpuMs: number;
  involuntarySwitches: number;
  majorFaults: number;
}

/**
 * The model, in a process of its own. All calls reject with a `transient` PipitError of code `engine_died` when the child
 * dies under them, with code `aborted` when `signal` fires (which acts between batches), with a RequestError `too_long`
 * when the prompt does not fit.
 */
export interface Engine {
  readonly status: EngineStatus;
  start(signal?: AbortSignal): Promise<void>;
  stop(): Promise<void>;
  /**
   * Replaces the loaded decoder, or the encoder of the same file: encoders of other files stand side by side. Survives the
   * child: a new child loads the same models again.
   */
  load(spec: ModelSpec, onProgress?: (fraction: number) => void): Promise<LoadedModel>;
  /** The decoder, or the encoder of that file. */
  unload(kind: "decoder" | "encoder", path?: string): Promise<void>;
  generate(job: GenerateJob, signal?: AbortSignal): AsyncIterable<Piece>;
  score(job: ScoreJob, signal?: AbortSignal): Promise<Scores>;
  embed(texts: string[], signal?: AbortSignal, options?: EmbedOptions): Promise<Embeddings>;
  /** What the decoder makes of each page of plain text, as a vector of `READOUT_DIMENSIONS`; see `core/readout.ts`. */
  readout(pages: string[], signal?: AbortSignal): Promise<Embeddings>;
  /** Tokens of the turns as the model would read them; for limits and for checks against a reference. */
  tokenize(turns: Turn[]): Promise<number[]>;
  /** Threads and rests take effect at the next batch, yielding at once. */
  setThreads(threads: ThreadPlan, manners?: Partial<Manners>): void;
  measure(): Promise<EngineReading>;
}

// ── Journal ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A question as it must survive a crash: enough to ask it again and to answer whoever asked. */
export interface AcceptedQuestion {
  /** Identity for de-duplication; see `questionKey` in request.ts. */
  key: string;
  topic: string;
  payload: Uint8Array;
  responseTopic?: string;
  correlationData?: Uint8Array;
  userProperties?: Record<string, string | string[]>;
  /** Packet identifier of the delivery: see `acceptedAs`. */
  packetId?: number;
  /** Wall clock at arrival and at the deadline. */
  acceptedWallMs: number;
  deadlineWallMs: number;
}

export type QuestionState = "unknown" | "accepted" | "answered" | "settled" | "dead";

export interface Recovered {
  /** Accepted without an answer, oldest first. */
  open: ({ question: AcceptedQuestion } & Attempts)[];
  /** Answered but not settled: the exact bytes to publish again. */
  unsettled: { key: string; reply: OutgoingMessage }[];
}

/** Durable inbox and outbox. `accept` and `answer` resolve only when the record would survive a power cut. */
export interface Journal {
  /** What was accepted survives a restart of the process. */
  readonly durable: boolean;
  start(): Promise<Recovered>;
  stop(): Promise<void>;
  state(key: string): QuestionState;
  /** The stored reply of an answered question, to be repeated byte for byte. */
  reply(key: string): OutgoingMessage | undefined;
  accept(question: AcceptedQuestion): Promise<void>;
  /** The question that was accepted last under this packet identifier: its redelivery, if it has no identity of its own. */
  acceptedAs(packetId: number): string | undefined;
  /** Notes that inference begins; returns the attempts, this one included. */
  begin(key: string): Attempts;
  /** Notes that inference has ended without an answer, for a known reason: the model's process died, or we stopped it. */
  interrupt(key: string, cause: "death" | "stop"): Attempts;
  answer(key: string, reply: OutgoingMessage): Promise<void>;
  /** The broker has acknowledged the reply. */
  settle(key: string): void;
  /** Gives the question up; its `failed` reply has been journalled by `answer`. */
  bury(key: string): void;
}
