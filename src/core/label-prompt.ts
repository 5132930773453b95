// The conversation a decoder is scored on: system text with the labels, the examples as earlier turns, the text last.
// Everything but the last turn is the same for every message, so it stays in the key-value cache.
import type { Turn } from "./ports.ts";
import type { Example, Label } from "./route.ts";

export interface LabelPrompt {
  /** Replaces the first sentence of the system text. */
  system?: string;
  labels: readonly Label[];
  examples: readonly Example[];
}

/** Texts that say nothing: what the model answers to them is its preference, not its judgement. */
export const CONTENT_FREE_TEXTS = ["N/A", "", "[MASK]"] as const;

const DEFAULT_SYSTEM = "Classify each message. Answer with one label and nothing else.";

/** Turns for `Engine.score`, with the label names as candidates. */
export function labelTurns(prompt: LabelPrompt, text: string): Turn[] {
  return [...labelPrefix(prompt), { role: "user", text }];
}

/** The static part: system text and examples. */
export function labelPrefix(prompt: LabelPrompt): Turn[] {
  const turns: Turn[] = [{ role: "system", text: systemText(prompt) }];
  for (const { text, label } of interleaved(prompt)) {
    turns.push({ role: "user", text }, { role: "assistant", text: label });
  }
  return turns;
}

function systemText({ system, labels }: LabelPrompt): string {
  const opening = system ?? DEFAULT_SYSTEM;
  if (labels.every(({ description }) => description === undefined)) {
    return `${opening} Labels: ${labels.map(({ name }) => name).join(", ")}.`;
  }
  const lines = labels.map(({ name, description }) => (description ? `- ${name}: ${description}` : `- ${name}`));
  return `${opening} Labels:\n${lines.join("\n")}`;
}

/**
 * One example of each label in turn: a small model repeats what it saw last, so no label may have a run of examples
 * at the end. Examples of labels that are not asked for are left out.
 */
function interleaved({ labels, examples }: LabelPrompt): Example[] {
  const byLabel = labels.map(({ name }) => examples.filter(({ label }) => label === name));
  const longest = Math.max(0, ...byLabel.map(({ length }) => length));
  const rounds = Array.from({ length: longest }, (_, round) => byLabel.map((own) => own[round]));
  return rounds.flat().filter((example) => example !== undefined);
}
