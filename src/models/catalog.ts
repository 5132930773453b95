// The catalogue: every model Pipit knows by name. The shipped file is config/models.yaml; entries of the user's file are
// added and replace shipped ones of the same name. All errors of a file are reported at once, unknown keys among them.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { PipitError, toError } from "../core/errors.ts";
import { IMPORT_TYPES, type ImportType } from "./import-model.ts";
import { type ModelSource, parseSource } from "./source.ts";

/** `chat`: the file's own chat template; `plain`: a base model that continues text; `none`: an encoder. */
export const PROMPT_STYLES = ["chat", "plain", "none"] as const;
export type PromptStyle = (typeof PROMPT_STYLES)[number];

export const MODEL_TASKS = ["ask", "classify", "extract", "embed"] as const;
export type ModelTask = (typeof MODEL_TASKS)[number];

export interface CatalogEntry {
  name: string;
  family: string;
  /** Name of the file at its publisher, for people. */
  file: string;
  kind: "decoder" | "encoder";
  sizeBytes: number | undefined;
  /** Lower-case hex; undefined where nobody has vouched for a hash yet: the user must accept one at the first fetch. */
  sha256: string | undefined;
  licence: string;
  /** Tokens the model was trained for. */
  contextTokens: number;
  promptStyle: PromptStyle;
  tasks: ModelTask[];
  /** Of an encoder: what its makers want to stand before every text; undefined: as the file says. */
  prefix?: string | undefined;
  /** The sources are Hugging Face directories, to be imported in this type; undefined: they are GGUF files. */
  import: ImportType | undefined;
  /** In order of preference; the parts of one source are concatenated. */
  sources: ModelSource[][];
}

export const MODEL_NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const KEYS = [
  "name",
  "family",
  "file",
  "kind",
  "size_bytes",
  "sha256",
  "licence",
  "context_tokens",
  "prompt_style",
  "tasks",
  "prefix",
  "import",
  "sources",
];

export function shippedCatalogPath(): string {
  return fileURLToPath(new URL("../../config/models.yaml", import.meta.url));
}

/**
 * The entries by name, in file order, the user's last. A missing user file is no error, a broken one is.
 * @throws PipitError `bad_catalog` (kind `config`) with one line per fault.
 */
export async function readCatalog(
  userPath?: string,
  shippedPath = shippedCatalogPath(),
): Promise<Map<string, CatalogEntry>> {
  const entries = parseCatalog(await readFile(shippedPath, "utf8"), shippedPath);
  if (userPath !== undefined) {
    for (const entry of parseCatalog(await readIfThere(userPath), userPath)) entries.push(entry);
  }
  return new Map(entries.map((entry) => [entry.name, entry]));
}

export function parseCatalog(yaml: string, path: string): CatalogEntry[] {
  const faults: string[] = [];
  let document: unknown;
  try {
    document = parse(yaml);
  } catch (error) {
    throw new PipitError("config", "bad_catalog", `${path}: ${toError(error).message}`, { cause: error });
  }
  const list = document === null ? [] : isRecord(document) ? document["models"] : undefined;
  if (!Array.isArray(list)) throw new PipitError("config", "bad_catalog", `${path}: expected a list under "models"`);
  const entries = list.map((item: unknown, index) => parseEntry(item, `models[${index}]`, faults));
  const names = entries.map((entry) => entry.name);
  for (const name of new Set(names.filter((name, i) => names.indexOf(name) !== i))) {
    faults.push(`name ${JSON.stringify(name)} stands twice`);
  }
  if (faults.length > 0) {
    throw new PipitError("config", "bad_catalog", faults.map((fault) => `${path}: ${fault}`).join("\n"));
  }
  return entries;
}

function parseEntry(item: unknown, where: string, faults: string[]): CatalogEntry {
  const record = isRecord(item) ? item : {};
  const name = record["name"];
  const label = typeof name === "string" ? name : where;
  const fault = (key: string, expected: string) => {
    faults.push(`${label}: ${key} is ${JSON.stringify(record[key]) ?? "missing"}, expected ${expected}`);
  };
  for (const key of Object.keys(record)) {
    if (!KEYS.includes(key)) faults.push(`${label}: unknown key ${JSON.stringify(key)}; known are ${KEYS.join(", ")}`);
  }
  const text = (key: string, pattern?: RegExp): string => {
    const value = record[key];
    if (typeof value === "string" && (pattern ?? /./).test(value)) return value;
    fault(key, pattern === undefined ? "a text" : `a text like ${pattern.source}`);
    return "";
  };
  const size = (key: string): number => {
    const value = record[key];
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
    fault(key, "a whole number above 0");
    return 0;
  };
  const oneOf = <T extends string>(key: string, value: unknown, allowed: readonly T[]): T => {
    const found = allowed.find((word) => word === value);
    if (found !== undefined) return found;
    fault(key, `one of ${allowed.join(", ")}`);
    return allowed[0] as T;
  };
  const tasks = Array.isArray(record["tasks"]) ? (record["tasks"] as unknown[]) : [undefined];
  return {
    name: text("name", MODEL_NAME),
    family: text("family"),
    file: text("file", /^[^/]+$/),
    kind: oneOf("kind", record["kind"], ["decoder", "encoder"] as const),
    sizeBytes: record["size_bytes"] === undefined ? undefined : size("size_bytes"),
    sha256: record["sha256"] === undefined ? undefined : text("sha256", SHA256),
    licence: text("licence"),
    contextTokens: size("context_tokens"),
    promptStyle: oneOf("prompt_style", record["prompt_style"], PROMPT_STYLES),
    tasks: tasks.map((task) => oneOf("tasks", task, MODEL_TASKS)),
    prefix: record["prefix"] === undefined ? undefined : text("prefix", /^.{1,200}$/),
    import: record["import"] === undefined ? undefined : oneOf("import", record["import"], IMPORT_TYPES),
    sources: parseSources(record["sources"], label, record["import"] !== undefined, faults),
  };
}

function parseSources(value: unknown, label: string, directory: boolean, faults: string[]): ModelSource[][] {
  if (!Array.isArray(value) || value.length === 0) {
    faults.push(`${label}: sources must list at least one source`);
    return [];
  }
  return value.map((source: unknown) => {
    const parts: unknown[] = Array.isArray(source) ? source : [source];
    if (directory && parts.length > 1) faults.push(`${label}: a directory to import does not come in parts`);
    return parts.flatMap((part) => {
      try {
        return [parseSource(String(part), directory)];
      } catch (error) {
        faults.push(`${label}: ${toError(error).message}`);
        return [];
      }
    });
  });
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "models: []";
    throw error;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
