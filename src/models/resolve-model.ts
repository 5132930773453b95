// From a name or a path to a file that may be loaded: present, whole (hash or the stamp of an earlier hash) and a sound
// GGUF. A path is the user's own pin: whatever it holds is taken, but its hash is still known and shown.
import { realpath, stat } from "node:fs/promises";
import { basename } from "node:path";
import { PipitError } from "../core/errors.ts";
import type { CatalogEntry, ModelTask, PromptStyle } from "./catalog.ts";
import { type GgufHeader, readGgufHeader } from "./gguf-header.ts";
import { classificationLabels } from "./classification-head.ts";
import { textPrefix } from "./text-prefix.ts";
import type { HashOptions, ModelStore } from "./store.ts";

export interface ResolvedModel {
  name: string;
  path: string;
  sha256: string;
  kind: "decoder" | "encoder";
  sizeBytes: number;
  /** Tokens the model was trained for. */
  contextTokens: number;
  promptStyle: PromptStyle;
  tasks: ModelTask[];
  header: GgufHeader;
  /** Of a classification head that came with the model; see `readClassificationHead`. */
  labels: string[] | undefined;
  /** What an encoder's makers want to stand before every text. */
  prefix: string | undefined;
}

export interface ResolveOptions extends HashOptions {
  store: ModelStore;
  catalog: ReadonlyMap<string, CatalogEntry>;
}

const ENCODERS =
  /^(bert|nomic-bert|nomic-bert-moe|jina-bert-v2|jina-bert-v3|modern-bert|neo-bert|eurobert|gemma-embedding)$/;

/**
 * @throws PipitError (kind `config`) `unknown_model`, `model_missing`, `model_corrupt` or `bad_model_file`; the message
 * says which command helps.
 */
export async function resolveModel(nameOrPath: string, options: ResolveOptions): Promise<ResolvedModel> {
  if (looksLikePath(nameOrPath)) return await resolvePath(nameOrPath, options);
  const entry = options.catalog.get(nameOrPath);
  const sha256 = await hashOfName(nameOrPath, options);
  const state = sha256 === undefined ? "missing" : await options.store.check(sha256, options);
  if (sha256 === undefined || state === "missing") {
    const message = `model ${nameOrPath} is not in ${options.store.directory}; run: pipit models fetch ${nameOrPath}`;
    throw new PipitError("config", "model_missing", message);
  }
  if (state === "corrupt") {
    const message = `model ${nameOrPath} is damaged (${options.store.blobPath(sha256)}); run: pipit models fetch ${nameOrPath}`;
    throw new PipitError("config", "model_corrupt", message);
  }
  return await describe(nameOrPath, options.store.blobPath(sha256), sha256, entry);
}

/** The hash a name stands for: the catalogue's, else one accepted or imported here; undefined when never fetched. */
export async function hashOfName(name: string, options: ResolveOptions): Promise<string | undefined> {
  const entry = options.catalog.get(name);
  const sha256 = entry?.sha256 ?? (await options.store.acceptedHash(name));
  if (entry === undefined && sha256 === undefined) {
    const near = nearest(name, [...options.catalog.keys(), ...(await options.store.localNames()).keys()]);
    const hint = near === undefined ? "see: pipit models list" : `did you mean ${near}?`;
    throw new PipitError("config", "unknown_model", `no model is called ${JSON.stringify(name)}; ${hint}`);
  }
  return sha256;
}

export function looksLikePath(nameOrPath: string): boolean {
  return nameOrPath.includes("/") || nameOrPath.endsWith(".gguf");
}

async function resolvePath(given: string, options: ResolveOptions): Promise<ResolvedModel> {
  const path = await realpath(given).catch((cause: unknown) => {
    throw new PipitError("config", "model_missing", `model file ${given} cannot be read`, { cause });
  });
  if (!(await stat(path)).isFile()) throw new PipitError("config", "model_missing", `model ${given} is not a file`);
  return await describe(
    basename(given)
      .replace(/\.gguf$/i, "")
      .toLowerCase(),
    path,
    await options.store.hashOf(path, options),
  );
}

async function describe(name: string, path: string, sha256: string, entry?: CatalogEntry): Promise<ResolvedModel> {
  const header = await readGgufHeader(path);
  const kind = ENCODERS.test(header.architecture) ? "encoder" : "decoder";
  const style = kind === "encoder" ? "none" : header.hasChatTemplate ? "chat" : "plain";
  return {
    name,
    path,
    sha256,
    kind,
    sizeBytes: header.fileBytes,
    contextTokens: header.contextTokens > 0 ? header.contextTokens : (entry?.contextTokens ?? 0),
    promptStyle: entry?.promptStyle ?? style,
    tasks: entry?.tasks ?? (kind === "encoder" ? ["classify", "embed"] : ["ask", "classify", "extract"]),
    header,
    labels: classificationLabels(path, header),
    prefix: kind === "encoder" ? (entry?.prefix ?? textPrefix(name, header)) : undefined,
  };
}

/** The known name most of whose pairs of letters the given one shares. */
function nearest(name: string, known: string[]): string | undefined {
  const pairs = (text: string) => new Set(Array.from({ length: text.length - 1 }, (_, i) => text.slice(i, i + 2)));
  const wanted = pairs(name.toLowerCase());
  let best: { name: string; score: number } | undefined;
  for (const candidate of known) {
    const have = pairs(candidate);
    const shared = [...wanted].filter((pair) => have.has(pair)).length;
    const score = (2 * shared) / (wanted.size + have.size);
    if (score > 0.4 && score > (best?.score ?? 0)) best = { name: candidate, score };
  }
  return best?.name;
}
