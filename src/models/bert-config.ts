// What config.json of a BERT-family directory says, checked: sizes within bounds, and only what llama.cpp's `bert` graph
// computes. A model that would load and give wrong vectors is refused here, by name of the key.
import { join } from "node:path";
import { PipitError } from "../core/errors.ts";
import { MAX_LABEL_CHARACTERS } from "../core/labels.ts";
import { type JsonObject, jsonObject, readJson, readJsonList } from "./json-file.ts";
import { MAX_PREFIX_CHARACTERS } from "./text-prefix.ts";

export interface BertConfig {
  modelType: "bert" | "distilbert";
  layers: number;
  heads: number;
  hiddenSize: number;
  feedForward: number;
  positions: number;
  vocabularyTokens: number;
  tokenTypes: number;
  epsilon: number;
  /** How token vectors become one: what the directory says, else undefined. */
  pooling: "mean" | "cls" | undefined;
  /** What a classification head is said to be for; `other` tasks have layers of the same names that mean something else. */
  head: "classes" | "regression" | "other";
  /** Names of the classes by index, as far as the file gives them. */
  labels: Map<number, string>;
  multiLabel: boolean;
  /** What its makers want before a text that is to be classified; undefined where the files do not say. */
  prefix: string | undefined;
}

// llama.cpp computes GELU by its tanh form; the exact form differs by less than the rounding to F16.
const ACTIVATIONS = ["gelu", "gelu_new", "gelu_pytorch_tanh"];

/** @throws PipitError `bad_model_file` (kind `config`) naming the key, what it may be and what it is. */
export async function readBertConfig(directory: string): Promise<BertConfig> {
  const path = join(directory, "config.json");
  const config = await readJson(path);
  if (config === undefined) throw new PipitError("config", "bad_model_file", `${directory}: has no config.json`);
  const modelType = oneOf(path, config, "model_type", ["bert", "distilbert"] as const);
  const distil = modelType === "distilbert";
  const size = (key: string, most: number, fallback?: number) => sizeOf(path, config, key, most, fallback);
  oneOf(path, config, distil ? "activation" : "hidden_act", ACTIVATIONS, "gelu");
  if (!distil) oneOf(path, config, "position_embedding_type", ["absolute"], "absolute");
  const hiddenSize = size(distil ? "dim" : "hidden_size", 8192);
  const heads = size(distil ? "n_heads" : "num_attention_heads", 256);
  if (hiddenSize % heads !== 0) throw bad(path, `${hiddenSize} hidden numbers do not divide among ${heads} heads`);
  const epsilon = distil ? 1e-12 : (config["layer_norm_eps"] ?? 1e-12);
  if (typeof epsilon !== "number" || !(epsilon > 0 && epsilon < 0.1)) {
    throw bad(path, `layer_norm_eps is ${JSON.stringify(epsilon)}, expected a number between 0 and 0.1`);
  }
  return {
    modelType,
    layers: size(distil ? "n_layers" : "num_hidden_layers", 128),
    heads,
    hiddenSize,
    feedForward: size(distil ? "hidden_dim" : "intermediate_size", 65_536),
    positions: size("max_position_embeddings", 65_536),
    vocabularyTokens: size("vocab_size", 1_000_000),
    tokenTypes: distil ? 1 : size("type_vocab_size", 256, 2),
    epsilon,
    pooling: await readPooling(directory),
    prefix: await readPrefix(directory),
    head: headOf(config),
    labels: labelsOf(path, config),
    multiLabel: config["problem_type"] === "multi_label_classification",
  };
}

async function readPooling(directory: string): Promise<"mean" | "cls" | undefined> {
  const path = join(directory, "1_Pooling", "config.json");
  const config = await readJson(path);
  await checkModules(directory);
  if (config === undefined) return undefined;
  // Older files switch each way on or off, newer ones name one; two at a time join their vectors.
  const on = Object.entries(config).filter(([key, value]) => key.startsWith("pooling_mode_") && value === true);
  const ways = [...on.map(([key]) => key.slice("pooling_mode_".length)), ...[config["pooling_mode"] ?? []].flat()];
  const found = POOLINGS.get(ways.join(" "));
  if (found !== undefined) return found;
  throw bad(path, `asks for the pooling ${ways.map(String).join(" and ") || "none"}, expected mean or cls`);
}

const POOLINGS = new Map<string, "mean" | "cls">([
  ["mean_tokens", "mean"],
  ["mean", "mean"],
  ["cls_token", "cls"],
  ["cls", "cls"],
]);

/** What sentence-transformers applies after the trunk: nothing that we would leave out. */
async function checkModules(directory: string): Promise<void> {
  const path = join(directory, "modules.json");
  const modules = (await readJsonList(path)) ?? [];
  for (const module of modules) {
    const type = jsonObject(module)?.["type"];
    const known = typeof type === "string" && /\.(Transformer|Pooling|Normalize)$/.test(type);
    if (!known) throw bad(path, `has a module of type ${JSON.stringify(type) ?? "none"}, which cannot be imported`);
  }
}

/** The prompt for classification, or the one for every text; a prompt for queries of a search is neither. */
async function readPrefix(directory: string): Promise<string | undefined> {
  const path = join(directory, "config_sentence_transformers.json");
  const config = await readJson(path);
  const prompts = jsonObject(config?.["prompts"]) ?? {};
  const usual = config?.["default_prompt_name"];
  const prefix = prompts["classification"] ?? (typeof usual === "string" ? prompts[usual] : undefined);
  if (prefix === undefined || prefix === null || prefix === "") return undefined;
  if (typeof prefix === "string" && prefix.length <= MAX_PREFIX_CHARACTERS) return prefix;
  throw bad(path, `has a prompt that is no text of at most ${MAX_PREFIX_CHARACTERS} characters`);
}

function headOf(config: JsonObject): BertConfig["head"] {
  if (config["problem_type"] === "regression") return "regression";
  const [architecture] = [config["architectures"] ?? []].flat() as unknown[];
  const other = typeof architecture === "string" && /For(?!SequenceClassification)[A-Z]/.test(architecture);
  return other ? "other" : "classes";
}

function labelsOf(path: string, config: JsonObject): Map<number, string> {
  const labels = new Map<number, string>();
  for (const [id, label] of Object.entries(jsonObject(config["id2label"]) ?? {})) {
    if (!/^\d{1,6}$/.test(id))
      throw bad(path, `id2label has the class ${JSON.stringify(id.slice(0, 40))}, expected a number`);
    const sound = typeof label === "string" && label.trim() !== "" && label.length <= MAX_LABEL_CHARACTERS;
    if (!sound) throw bad(path, `id2label[${id}] must be a text of 1 to ${MAX_LABEL_CHARACTERS} characters`);
    labels.set(Number(id), label);
  }
  if (new Set(labels.values()).size < labels.size) throw bad(path, "id2label gives two classes the same name");
  return labels;
}

function sizeOf(path: string, config: JsonObject, key: string, most: number, fallback?: number): number {
  const value = config[key] ?? fallback;
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0 && value <= most) return value;
  throw bad(path, `${key} is ${JSON.stringify(value) ?? "missing"}, expected a whole number from 1 to ${most}`);
}

function oneOf<T extends string>(
  path: string,
  config: JsonObject,
  key: string,
  allowed: readonly T[],
  fallback?: T,
): T {
  const value = config[key] ?? fallback;
  const found = allowed.find((word) => word === value);
  if (found !== undefined) return found;
  throw bad(path, `${key} is ${JSON.stringify(value) ?? "missing"}, expected ${allowed.join(" or ")}`);
}

function bad(path: string, why: string): PipitError {
  return new PipitError("config", "bad_model_file", `${path}: ${why}`);
}
