// A route says what happens to the messages of one topic filter.
import type { RequestWord } from "./topics.ts";

/** Task names as in replies; each has its topic word (`ask`, `classify`, `extract`). */
export type Task = "answer" | "classify" | "extract";

export const TASK_OF_WORD: Record<RequestWord, Task> = { ask: "answer", classify: "classify", extract: "extract" };

/** How much of a busy board a question may take: `high` yields to any neighbour. */
export type Courtesy = "low" | "normal" | "high";

/** `{text, label}`: what a label looks like. */
export interface Example {
  text: string;
  label: string;
}

export interface Label {
  name: string;
  /** What the label means, for models that have seen no example. */
  description?: string;
}

/** 0 is no limit. */
export interface RateLimits {
  questionsPerMinute: number;
  tokensPerMinute: number;
  openQuestions: number;
}

export interface SenderLimits extends RateLimits {
  /** Bytes of the messages of one sender that wait or run. */
  openBytes: number;
}

export interface Route {
  name: string;
  /** Topic filter subscribed to; `$share/<group>/…` is allowed. */
  filter: string;
  task: Task;
  /** Where replies go when the request names no reply topic; `{1}`, `{2}`… are what the wildcards matched. */
  replyTopic: string;
  /** Reply topics a request may name: topic filters. */
  allowReplyTo: string[];
  replyForm: "json" | "text";
  /** System text: who the model is and what it shall do. Stands first, so that it stays in the key-value cache. */
  system?: string;
  /** A classifier from a file that sorts the texts; the labels and examples here are for routes without one. */
  classifier?: string;
  labels: Label[];
  examples: Example[];
  /** Classify by the beginning of a text that is too long for the encoder, instead of refusing it. */
  truncate: boolean;
  maxTokens: number;
  temperature: number;
  /** Longest wait for an answer; a request may ask for less. */
  deadlineMs: number;
  /** Characters of text a request may carry. */
  maxTextCharacters: number;
  maxPayloadBytes: number;
  /** How the sender of a question is known; see sender.ts. */
  sender: string;
  /** What each sender may take of this route. */
  senderLimits: SenderLimits;
  /** What all its senders may take together. */
  limits: RateLimits;
  /** 0 (last) to 9 (first) in the queue. */
  priority: number;
  courtesy: Courtesy;
}
