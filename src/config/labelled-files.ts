// Labelled texts in files: JSONL, or CSV with a head line. Read whole, up to a bound.
import { readFileSync, statSync } from "node:fs";
import type { LabelledText } from "../core/classifier.ts";
import { PipitError, toError } from "../core/errors.ts";
import { csvRows } from "./csv.ts";

const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** `{text, label}` or `{text, labels}` a line; or CSV with a head line that names `text` and `label`. Throws a `config` error. */
export function readLabelledFile(path: string): LabelledText[] {
  const text = readBounded(path);
  const examples = /\.csv$/i.test(path) ? fromCsv(path, text) : fromLines(path, text);
  if (examples.length === 0) throw fault(path, ["has no examples"]);
  return examples;
}

function fromLines(path: string, text: string): LabelledText[] {
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

export function readBounded(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > MAX_FILE_BYTES) throw fault(path, [`has ${size} bytes, at most ${MAX_FILE_BYTES} are read`]);
    // Spreadsheets begin a file with a byte order mark.
    return readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    if (error instanceof PipitError) throw error;
    throw fault(path, [`cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`]);
  }
}

function fromCsv(path: string, text: string): LabelledText[] {
  let all: string[][];
  try {
    all = csvRows(text);
  } catch (error) {
    throw fault(path, [toError(error).message]);
  }
  const [head = [], ...rows] = all;
  const names = head.map((name) => name.trim().toLowerCase());
  const [textAt, labelAt] = [names.indexOf("text"), names.indexOf("label")];
  if (textAt < 0 || labelAt < 0)
    throw fault(path, [`its first line must name text and label, it is ${head.join(",")}`]);
  return rows.map((row, index) => {
    const [written, label] = [row[textAt], row[labelAt]];
    if (!written?.trim() || !label) throw fault(path, [`row ${index + 2} lacks a text or a label`]);
    return { text: written, labels: [label] };
  });
}

/** `{text, label}` or `{text, labels}`; anything else is undefined. */
export function exampleOf(value: unknown): LabelledText | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { text, label, labels } = value as Record<string, unknown>;
  if (typeof text !== "string" || text.trim() === "") return undefined;
  if (typeof label === "string") return { text, labels: [label] };
  if (Array.isArray(labels) && labels.every((own) => typeof own === "string")) return { text, labels };
  return undefined;
}

export function fault(path: string, faults: readonly string[]): PipitError {
  return new PipitError("config", "bad_classifier", faults.map((one) => `${path}: ${one}`).join("\n"));
}
