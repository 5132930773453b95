// What a classifier is before anything is learnt: its labels, its examples and when it shall rather not answer.
import type { ClassificationHead } from "./classification-head.ts";
import { PipitError } from "./errors.ts";
import type { Link } from "./logistic.ts";
import { MAX_LABEL_CHARACTERS, MAX_LABELS } from "./labels.ts";
import { describe } from "./request-fields.ts";
import type { Example, Label } from "./route.ts";

/** `single`: exactly one label is right; `multi`: any number; `yes_no`: does `question` hold for the text. */
export type ClassifierKind = "single" | "multi" | "yes_no";

/** A text and the labels it has; exactly one unless the classifier is `multi`. */
export interface LabelledText {
  text: string;
  labels: readonly string[];
}

export interface ClassifierDefinition {
  name: string;
  kind: ClassifierKind;
  /** None: those of the head that comes with the model. */
  labels: readonly Label[];
  examples: readonly LabelledText[];
  /** Abstain below this probability; in `multi`, a label is given from this probability on. */
  threshold: number;
  /** Abstain when no example is at least this similar; `auto` learns the border from the examples, `off` always answers. */
  scope: number | "auto" | "off";
  /** Given instead of null when the classifier abstains. */
  abstainLabel?: string;
  /** Ask the decoder too when the head's margin is below this; 0 never does. Undefined: as the head's origin suggests. */
  decoderMargin?: number;
  /** Encoder it is made for; while that is not loaded the decoder answers. Undefined takes the common one. */
  model?: string;
}

/**
 * Of home intents 5 in 100 lie below it with 8 examples a label. Cross-validation on the examples prefers it to smaller ones;
 * larger ones gain little more and ask the slow model more often.
 */
export const DEFAULT_DECODER_MARGIN = 0.5;

/** Probability from which a label of a `multi` classifier is given, unless the definition says otherwise. */
const MULTI_THRESHOLD = 0.5;

export function linkOf(kind: ClassifierKind): Link {
  return kind === "multi" ? "sigmoid" : "softmax";
}

/** A definition with every default in its place, from what a person or a route gives. Throws a `config` error. */
export function defineClassifier(
  given: Pick<ClassifierDefinition, "name"> & Partial<ClassifierDefinition> & { question?: string },
): ClassifierDefinition {
  const kind = given.kind ?? "single";
  const labels = kind === "yes_no" ? yesNoLabels(given.question, given.labels) : (given.labels ?? []);
  const definition: ClassifierDefinition = {
    name: given.name,
    kind,
    labels,
    examples: given.examples ?? [],
    threshold: given.threshold ?? (kind === "multi" ? MULTI_THRESHOLD : 0),
    // Who names a label for abstaining wants texts about something else to get it.
    scope: given.scope ?? (given.abstainLabel === undefined ? "off" : "auto"),
    ...(given.abstainLabel !== undefined && { abstainLabel: given.abstainLabel }),
    ...(given.decoderMargin !== undefined && { decoderMargin: given.decoderMargin }),
    ...(given.model !== undefined && { model: given.model }),
  };
  checkDefinition(definition);
  return definition;
}

/**
 * The definition as the head that comes with its model answers it: with the head's labels, which one is right or which ones
 * as the head was trained. Undefined where a head is trained here instead: there are examples, or labels of another kind
 * for an encoder that nobody chose for its head. Throws a `config` error when the chosen model knows other labels.
 */
export function definitionByHead(
  definition: ClassifierDefinition,
  head: ClassificationHead,
): ClassifierDefinition | undefined {
  const { name, model, labels, examples, threshold, abstainLabel, decoderMargin = 0 } = definition;
  if (examples.length > 0) return undefined;
  const refuse = (what: string) => new PipitError("config", "bad_classifier", `classifier ${name}: ${what}`);
  const same = labels.length === head.labels.length && labels.every((label) => head.labels.includes(label.name));
  if (labels.length > 0 && !same) {
    if (model === undefined) return undefined;
    const known = head.labels.slice(0, MAX_LABELS).join(", ");
    throw refuse(`model ${model} knows the labels ${known}; leave labels out, or give examples of others`);
  }
  if (abstainLabel !== undefined && head.labels.includes(abstainLabel)) {
    throw refuse(`abstain_label ${JSON.stringify(abstainLabel)} is also a label of model ${model}`);
  }
  const isMulti = head.link === "sigmoid";
  return {
    ...definition,
    kind: isMulti ? "multi" : "single",
    labels: head.labels.map((label) => labels.find((given) => given.name === label) ?? { name: label }),
    threshold: isMulti && threshold === 0 ? MULTI_THRESHOLD : threshold,
    decoderMargin,
  };
}

/** Examples of one label each, as routes have them. */
export function labelledTexts(examples: readonly Example[]): LabelledText[] {
  return examples.map(({ text, label }) => ({ text, labels: [label] }));
}

function yesNoLabels(question: string | undefined, given: readonly Label[] = []): Label[] {
  const described = (name: string) => given.find((label) => label.name === name)?.description;
  const yes = described("yes") ?? question;
  const no = described("no");
  return [
    { name: "yes", ...(yes !== undefined && { description: yes }) },
    { name: "no", ...(no !== undefined && { description: no }) },
  ];
}

function checkDefinition(definition: ClassifierDefinition): void {
  const { name, kind, labels, examples, threshold, scope, abstainLabel, decoderMargin = 0 } = definition;
  const refuse = (what: string): never => {
    throw new PipitError("config", "bad_classifier", `classifier ${name}: ${what}`);
  };
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name) || name.startsWith(".")) {
    refuse("its name must be 1 to 64 of A-Z a-z 0-9 _ . - and not begin with a dot");
  }
  if (labels.length > MAX_LABELS) refuse(`has ${labels.length} labels, the most is ${MAX_LABELS}`);
  if (labels.length === 0 && examples.length > 0) refuse("has examples but no labels");
  const names = new Set<string>();
  for (const label of labels) {
    if (label.name.trim() === "") refuse("a label is empty");
    if (label.name.length > MAX_LABEL_CHARACTERS) {
      refuse(`label ${describe(label.name)} has ${label.name.length} characters, the most is ${MAX_LABEL_CHARACTERS}`);
    }
    if (names.has(label.name)) refuse(`has the label ${JSON.stringify(label.name)} twice`);
    names.add(label.name);
  }
  if (!(threshold >= 0 && threshold <= 1)) refuse(`threshold must be 0 to 1, is ${threshold}`);
  if (!(decoderMargin >= 0 && decoderMargin <= 1)) refuse(`decoder_margin must be 0 to 1, is ${decoderMargin}`);
  if (typeof scope === "number" && !(scope >= -1 && scope <= 1)) refuse(`scope must be -1 to 1, is ${scope}`);
  if (abstainLabel !== undefined && names.has(abstainLabel)) {
    refuse(`abstain_label ${JSON.stringify(abstainLabel)} is also one of its labels`);
  }
  for (const [index, example] of examples.entries()) {
    const foreign = example.labels.find((label) => !names.has(label));
    if (foreign !== undefined)
      refuse(`example ${index + 1} has the label ${describe(foreign)}, which it does not know`);
    if (kind !== "multi" && example.labels.length !== 1) {
      refuse(`example ${index + 1} has ${example.labels.length} labels, only a classifier of kind multi may`);
    }
  }
}
