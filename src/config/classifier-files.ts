// Classifiers as files: each `*.yaml` of a folder defines one, with the keys of an entry of `classify.classifiers`. Every fault
// of every file is told at once, with the file, the key and the value.
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { parse } from "yaml";
import type { ClassifierDefinition } from "../core/classifier.ts";
import { PipitError, toError } from "../core/errors.ts";
import { definitionFrom } from "./classifier-fields.ts";
import { fault, readBounded } from "./labelled-files.ts";

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
  const fields = { name: basename(path, extname(path)), ...readFields(path) };
  const definition = definitionFrom(fields, dirname(path), faults);
  if (definition === undefined) throw fault(path, faults);
  return definition;
}

function readFields(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(readBounded(path), { logLevel: "error" });
  } catch (error) {
    throw error instanceof PipitError ? error : fault(path, [`cannot be read as YAML: ${firstLine(toError(error))}`]);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw fault(path, ["must hold keys and values"]);
}

/** Without the lines of the file that follow, which may hold anything. */
function firstLine({ message }: Error): string {
  return message.split("\n")[0] ?? "";
}
