// Classifiers as files: each `*.yaml` of a folder defines one. Examples stand in the file or in JSONL and CSV files beside it.
// Every fault of every file is told at once, with the file, the key and the value.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { parse } from "yaml";
import {
  type ClassifierDefinition,
  type ClassifierKind,
  defineClassifier,
  type LabelledText,
} from "../core/classifier.ts";
import { PipitError, toError } from "../core/errors.ts";
import type { Label } from "../core/route.ts";
import { csvRows } from "./csv.ts";
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
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** All classifiers of the folder by file name; none when there is no such folder. Throws a `config` error with every fault. */
export function readClassifierFolder(directory: string): ClassifierDefinition[] {
  if (!existsSync(directory)) return [];
  const files = readdirSync(directory)
    .filter((name) => /\.ya?ml$/.test(name))
    .sort();
  const found: ClassifierDefinition[] = [];
  const faults: string[] = [];
  for (const file of files) {
    try {
      const definition = readClassifierFile(join(directory, file));
      const twin = found.some(({ name }) => name === definition.name);
      if (twin) faults.push(`${join(directory, file)}: there is already a classifier ${definition.name}`);
      else found.push(definition);
    } catch (error) {
      faults.push(toError(error).message);
    }
  }
  if (faults.length > 0) throw new PipitError("config", "bad_classifier", faults.join("\n"));
  return found;
}

/** One classifier. Its name is that of the file unless it says otherwise. */
export function readClassifierFile(path: string): ClassifierDefinition {
  const faults: string[] = [];
  const fields = readFields(path);
  for (const key of Object.keys(fields)) {
    if (!(KEYS as readonly string[]).includes(key)) faults.push(`has no key ${key}${hint(nearest(key, KEYS))}`);
  }
  const kind = choice(fields["kind"] ?? "single", faults);
  const given = {
    name: optional(fields, "name", "string", faults) ?? basename(path, extname(path)),
    kind,
    question: optional(fields, "question", "string", faults),
    labels: labelsOf(fields["labels"], kind, faults),
    examples: examplesOf(fields["examples"], path, faults),
    threshold: optional(fields, "threshold", "number", faults),
    scope: scopeOf(fields["out_of_scope"], faults),
    abstainLabel: optional(fields, "abstain_label", "string", faults),
    decoderMargin: optional(fields, "decoder_margin", "number", faults),
    model: optional(fields, "model", "string", faults),
  };
  if (faults.length > 0) throw fault(path, faults);
  try {
    return defineClassifier(given);
  } catch (error) {
    throw fault(path, [toError(error).message]);
  }
}

/** `{text, label}` or `{text, labels}` a line; or CSV with a head line that names `text` and `label`. Throws a `config` error. */
export function readLabelledFile(path: string): LabelledText[] {
  const text = readBounded(path);
  if (/\.csv$/i.test(path)) return fromCsv(path, text);
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw fault(path, [`line ${index + 1} is not JSON`]);
    }
    const example = exampleOf(value);
    if (example === undefined) throw fault(path, [`line ${index + 1} must be {"text": …, "label": …}`]);
    return [example];
  });
}

function readFields(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(readBounded(path), { logLevel: "error" });
  } catch (error) {
    throw error instanceof PipitError ? error : fault(path, [`cannot be read as YAML: ${toError(error).message}`]);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw fault(path, ["must hold keys and values"]);
}

function readBounded(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > MAX_FILE_BYTES) throw fault(path, [`has ${size} bytes, at most ${MAX_FILE_BYTES} are read`]);
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof PipitError) throw error;
    throw fault(path, [`cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`]);
  }
}

function fromCsv(path: string, text: string): LabelledText[] {
  const [head = [], ...rows] = csvRows(text);
  const names = head.map((name) => name.trim().toLowerCase());
  const [textAt, labelAt] = [names.indexOf("text"), names.indexOf("label")];
  if (textAt < 0 || labelAt < 0)
    throw fault(path, [`its first line must name text and label, it is ${head.join(",")}`]);
  return rows.map((row, index) => {
    const [written, label] = [row[textAt], row[labelAt]];
    if (!written || !label) throw fault(path, [`row ${index + 2} lacks a text or a label`]);
    return { text: written, labels: [label] };
  });
}

function exampleOf(value: unknown): LabelledText | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { text, label, labels } = value as Record<string, unknown>;
  if (typeof text !== "string" || text.trim() === "") return undefined;
  if (typeof label === "string") return { text, labels: [label] };
  if (Array.isArray(labels) && labels.every((own) => typeof own === "string")) return { text, labels };
  return undefined;
}

function examplesOf(value: unknown, path: string, faults: string[]): LabelledText[] {
  const parts: unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  return parts.flatMap((part, index) => {
    if (typeof part === "string") {
      try {
        return readLabelledFile(resolve(dirname(path), part));
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

function labelsOf(value: unknown, kind: ClassifierKind, faults: string[]): Label[] {
  if (value === undefined && kind === "yes_no") return [];
  if (!Array.isArray(value)) {
    faults.push("labels must be a list of names or {name, description}");
    return [];
  }
  return value.flatMap((label: unknown, index) => {
    if (typeof label === "string") return { name: label };
    const { name, description } = (label ?? {}) as Record<string, unknown>;
    if (typeof name === "string" && (description === undefined || typeof description === "string")) {
      return { name, ...(description !== undefined && { description }) };
    }
    faults.push(`labels[${index}] must be a name or {name, description}, is ${JSON.stringify(label)}`);
    return [];
  });
}

function choice(value: unknown, faults: string[]): ClassifierKind {
  const found = KINDS.find((kind) => kind === value);
  if (found === undefined) faults.push(`kind must be one of ${KINDS.join(", ")}, is ${JSON.stringify(value)}`);
  return found ?? "single";
}

function scopeOf(value: unknown, faults: string[]): ClassifierDefinition["scope"] | undefined {
  if (value === undefined || value === "auto" || value === "off" || typeof value === "number") return value;
  // YAML 1.1 habits: an unquoted `off` may mean false.
  if (value === false) return "off";
  faults.push(`out_of_scope must be auto, off or a similarity from -1 to 1, is ${JSON.stringify(value)}`);
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
    faults.push(`${key} must be a ${type === "string" ? "text" : "number"}, is ${JSON.stringify(value)}`);
    return undefined;
  }
  return value as T extends "string" ? string : number;
}

function fault(path: string, faults: readonly string[]): PipitError {
  return new PipitError("config", "bad_classifier", faults.map((one) => `${path}: ${one}`).join("\n"));
}
