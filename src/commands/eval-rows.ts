// Labelled texts for `pipit eval`: rows of one label each, or rows of several.
import { readFile } from "node:fs/promises";
import { type ClassifierDefinition, defineClassifier, type LabelledText } from "../core/classifier.ts";
import { PipitError } from "../core/errors.ts";

/** `label` is one or none of the labels, `labels` any number of them. */
export type Row = { text: string; split?: string } & ({ label: string | null } | { labels: string[] });

export function labelsOf(row: Row): readonly string[] {
  if ("labels" in row) return row.labels;
  return row.label === null ? [] : [row.label];
}

/** A classifier made of the rows that teach: of several labels a text if the rows are. */
export function taught(rows: readonly Row[], most: unknown): ClassifierDefinition {
  const limit = most === undefined ? Infinity : Number(most);
  if (!(limit >= 0)) throw new PipitError("request", "usage", `--per-label must be a number, got ${String(most)}`);
  const several = rows.some((row) => "labels" in row);
  const seen = new Map<string, number>();
  const examples = rows.flatMap((row): LabelledText[] => {
    const labels = labelsOf(row);
    if (row.split !== "examples" || (labels.length === 0 && !several)) return [];
    // Texts without a label count as a label of their own.
    const counted = labels.length === 0 ? [""] : labels;
    const counts = counted.map((label) => (seen.get(label) ?? 0) + 1);
    if (Math.min(...counts) > limit) return [];
    for (const [index, label] of counted.entries()) seen.set(label, counts[index]!);
    return [{ text: row.text, labels: [...labels] }];
  });
  const names = [...new Set(rows.flatMap(labelsOf))];
  const kind = several ? "multi" : "single";
  return defineClassifier({ name: "eval", kind, labels: names.map((name) => ({ name })), examples });
}

/** @throws PipitError `bad_rows` naming the first line that is none, or that is of the other kind than those before. */
export async function readRows(paths: readonly string[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const path of paths) {
    for (const [index, line] of (await textOf(path)).split("\n").entries()) {
      if (line.trim() === "") continue;
      const row = parsed(line);
      const refuse = (what: string) => new PipitError("config", "bad_rows", `${path}:${index + 1} ${what}`);
      if (!row) {
        const wanted = '{"text": …, "label": … or null} or {"text": …, "labels": […]}';
        throw refuse(`must be ${wanted}, is ${line.slice(0, 80)}`);
      }
      const [first = row] = rows;
      if ("labels" in first !== "labels" in row) {
        const [own, before] = "labels" in row ? ["labels", "label"] : ["label", "labels"];
        throw refuse(`has ${own}, the rows before have ${before}: measure them apart`);
      }
      rows.push(row);
    }
  }
  return rows;
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new PipitError("config", "unreadable", `${path} cannot be read`, { cause });
  }
}

function parsed(line: string): Row | undefined {
  try {
    const { text, label, labels, split } = JSON.parse(line) as Record<string, unknown>;
    if (typeof text !== "string") return undefined;
    const rest = { text, ...(typeof split === "string" && { split }) };
    if (labels === undefined) return typeof label === "string" || label === null ? { ...rest, label } : undefined;
    const right = Array.isArray(labels) && labels.every((one): one is string => typeof one === "string");
    return right && label === undefined ? { ...rest, labels } : undefined;
  } catch {
    return undefined;
  }
}
