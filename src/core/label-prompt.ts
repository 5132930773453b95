// The page a decoder is scored on: what to do, the labels, the examples one below the other, the message last. Everything
// but the message is the same every time, so it stays in the key-value cache. Plain text, not a conversation: on home
// intents SmolLM2-135M-Instruct reads it better (raw scores, 8 examples a label: 0.80 against 0.46 as chat turns) and it is
// a third shorter. A message cannot add lines of its own: white space in it becomes single spaces.
import type { Example, Label } from "./route.ts";

export interface LabelPrompt {
  /** Replaces the first sentence of the page. */
  system?: string;
  labels: readonly Label[];
  examples: readonly Example[];
}

const DEFAULT_SYSTEM = "Classify each message. Answer with one label and nothing else.";
/** Texts that say nothing: what the model answers to them is its preference, not its judgement. */
const NEUTRAL_TEXTS = ["N/A", "", "[MASK]"];
/** Bags of words drawn from the examples, and words in each. */
const BAGS = { count: 16, words: 6 };
/** Examples shown; more would fill the context of a small model (64 short sentences are about 900 tokens). */
const MOST_SHOWN = 64;
/** Fewer examples have too few words to shuffle. */
const LEAST_EXAMPLES_FOR_BAGS = 8;

/** The text for `Engine.score` to continue by one of `labelCandidates`. */
export function labelPage(prompt: LabelPrompt, text: string): string {
  return `${labelPagePrefix(prompt)}${entry(text)}`;
}

/** The static part of the page. */
export function labelPagePrefix(prompt: LabelPrompt): string {
  const shown = interleaved(prompt).map(({ text, label }) => `${entry(text)} ${oneLine(label)}\n\n`);
  return `${headText(prompt)}\n\n${shown.join("")}`;
}

/** What the page may go on with, in the order of the labels. */
export function labelCandidates(labels: readonly Label[]): string[] {
  return labels.map(({ name }) => ` ${oneLine(name)}`);
}

/**
 * Texts without meaning, to measure the model's preference on. Where there are examples, most are their words in no order
 * (after Fei et al. 2023): in the words of the task the preference shows as it is there (0.82 against 0.80 with neutral
 * texts alone; as chat turns 0.74 against 0.62). The same prompt always gives the same texts.
 */
export function contentFreeTexts({ examples }: LabelPrompt): string[] {
  if (examples.length < LEAST_EXAMPLES_FOR_BAGS) return [...NEUTRAL_TEXTS];
  const words = examples.flatMap(({ text }) => oneLine(text).split(" "));
  let state = 1;
  const draw = () => {
    // The minimal standard generator of Park and Miller.
    state = (state * 48_271) % 2_147_483_647;
    return words[state % words.length] ?? "";
  };
  const bags = Array.from({ length: BAGS.count }, () => Array.from({ length: BAGS.words }, draw).join(" "));
  return [...NEUTRAL_TEXTS, ...bags];
}

function entry(text: string): string {
  return `Message: ${oneLine(text)}\nLabel:`;
}

/** White space becomes single spaces, so that nothing a sender writes adds a line to a page. */
export function oneLine(text: string): string {
  return text.replace(/\s+/gu, " ").trim();
}

function headText({ system, labels }: LabelPrompt): string {
  const opening = system ?? DEFAULT_SYSTEM;
  if (labels.every(({ description }) => description === undefined)) {
    return `${opening} Labels: ${labels.map(({ name }) => oneLine(name)).join(", ")}.`;
  }
  const lines = labels.map(({ name, description }) => oneLine(description ? `- ${name}: ${description}` : `- ${name}`));
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
  return rounds
    .flat()
    .filter((example) => example !== undefined)
    .slice(0, MOST_SHOWN);
}
