// Where trained heads are kept: each training is a version, the newest good one is current, older ones can come back.
import type { LabelledText } from "./classifier.ts";
import type { TrainedHead } from "./head-training.ts";

/** One training of one classifier, with all that is needed to use it, explain it and train the next one. */
export interface HeadVersion {
  /** Counts from 1. */
  version: number;
  /** Wall clock. */
  trainedMs: number;
  /** Why it was trained: `definition`, `encoder`, `feedback`. */
  reason: string;
  /** Identity of the encoder whose vectors these are. */
  encoder: string;
  /** Identity of the definition's labels and examples. */
  definition: string;
  /** Examples that came by feedback, oldest first. */
  learned: LabelledText[];
  /** Texts of the definition and learned ones, in the order of `vectors`. */
  texts: LabelledText[];
  /** Of length 1. */
  vectors: Float32Array[];
  head: TrainedHead;
}

export interface VersionSummary {
  version: number;
  current: boolean;
  trainedMs: number;
  reason: string;
  encoder: string;
  examples: number;
  learned: number;
  /** By cross-validation. */
  accuracy: number;
}

/** Writes are atomic: after a power cut a version is there in full or not at all. */
export interface HeadStore {
  /** The current version, or undefined when there is none that can be read. */
  current(classifier: string): Promise<HeadVersion | undefined>;
  /** Stores the next version and makes it current; old ones beyond a bound go. Returns its number. */
  append(classifier: string, version: Omit<HeadVersion, "version">): Promise<number>;
  /** Newest first. */
  versions(classifier: string): Promise<VersionSummary[]>;
  /** Makes an older version current: the one given, or the one before the current. Throws a `request` error if there is none. */
  rollback(classifier: string, version?: number): Promise<number>;
}
