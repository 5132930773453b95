// The keys of one classifier, the same in a file of its own and in an entry of `classify.classifiers`: labels, examples in
// place or in JSONL and CSV files, when to abstain, which model.
import { resolve } from "node:path";
import {
  type ClassifierDefinition,
  type ClassifierKind,
  defineClassifier,
  type LabelledText,
} from "../core/classifier.ts";
import { toError } from "../core/errors.ts";
import type { Label } from "../core/route.ts";
import { show } from "./key.ts";
import { exampleOf, readLabelledFile } from "./labelled-files.ts";
import { hint, nearest } from "./nearest.ts";

const KEYS = [
  "name",
  "kind",
  "question",
  "labels",
  "examples",
  "threshold",
  "out_of_scope",
  "abstain_label",
  "decoder_margin",
  "model",
] as const;
const KINDS: readonly ClassifierKind[] = ["single", "multi", "yes_no"];
/** The classifier, or undefined with everything that is wrong in `faults`. Names of files start from `directory`. */
export function definitionFrom(
  fields: Record<string, unknown>,
  directory: string,
  faults: string[],
): ClassifierDefinition | undefined {
  for (const key of Object.keys(fields)) {
    if (!(KEYS as readonly string[]).includes(key)) faults.push(`has no key ${key}${hint(nearest(key, KEYS))}`);
  }
  const kind = choice(fields["kind"] ?? "single", faults);
  const model = optional(fields, "model", "string", faults);
  const given = {
    name: optional(fields, "name", "string", faults) ?? "",
    kind,
    question: optional(fields, "question", "string", faults),
    // A model may bring its labels.
    labels: labelsOf(fields["labels"], kind !== "yes_no" && model === undefined, faults),
    examples: examplesOf(fields["examples"], directory, faults),
    threshold: optional(fields, "threshold", "number", faults),
    scope: scopeOf(fields["out_of_scope"], faults),
    abstainLabel: optional(fields, "abstain_label", "string", faults),
    decoderMargin: optional(fields, "decoder_margin", "number", faults),
    // A path, not a name of the catalogue.
    model: model?.includes("/") === true ? resolve(directory, model) : model,
  };
  if (faults.length > 0) return undefined;
  try {
    return defineClassifier(given);
  } catch (error) {
    faults.push(toError(error).message);
    return undefined;
  }
}

function examplesOf(value: unknown, directory: string, faults: string[]): LabelledText[] {
  const parts: unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  return parts.flatMap((part, index) => {
    if (typeof part === "string") {
      try {
        return readLabelledFile(resolve(directory, part));
      } catch (error) {
        faults.push(toError(error).message);
        return [];
      }
    }
    const example = exampleOf(part);
    if (example === undefined)
      faults.push(`examples[${index}] must be {text, label} or the name of a JSONL or CSV file`);
    return example ?? [];
  });
}

function labelsOf(value: unknown, required: boolean, faults: string[]): Label[] {
  if (value === undefined && !required) return [];
  if (!Array.isArray(value) || (value.length === 0 && required)) {
    faults.push("labels must be a list of names or {name, description}; only a `model` may bring its own");
    return [];
  }
  return value.flatMap((label: unknown, index) => {
    if (typeof label === "string") return { name: label };
    const { name, description } = (label ?? {}) as Record<string, unknown>;
    if (typeof name === "string" && (description === undefined || typeof description === "string")) {
      return { name, ...(description !== undefined && { description }) };
    }
    faults.push(`labels[${index}] must be a name or {name, description}, is ${show(label)}`);
    return [];
  });
}

function choice(value: unknown, faults: string[]): ClassifierKind {
  const found = KINDS.find((kind) => kind === value);
  if (found === undefined) faults.push(`kind must be one of ${KINDS.join(", ")}, is ${show(value)}`);
  return found ?? "single";
}

function scopeOf(value: unknown, faults: string[]): ClassifierDefinition["scope"] | undefined {
  if (value === undefined || value === "auto" || value === "off" || typeof value === "number") return value;
  // YAML 1.1 habits: an unquoted `off` may mean false.
  if (value === false) return "off";
  faults.push(`out_of_scope must be auto, off or a similarity from -1 to 1, is ${show(value)}`);
  return undefined;
}

function optional<T extends "string" | "number">(
  fields: Record<string, unknown>,
  key: string,
  type: T,
  faults: string[],
): (T extends "string" ? string : number) | undefined {
  const value = fields[key];
  if (value === undefined) return undefined;
  if (typeof value !== type) {
    faults.push(`${key} must be a ${type === "string" ? "text" : "number"}, is ${show(value)}`);
    return undefined;
  }
  return value as T extends "string" ? string : number;
}
