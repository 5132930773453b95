// What config.json of a BERT-family directory says, checked: sizes within bounds, and only what llama.cpp's `bert` graph
// computes. A model that would load and give wrong vectors is refused here, by name of the key.
import { join } from "node:path";
import { PipitError } from "../core/errors.ts";
import { type JsonObject, jsonObject, readJson } from "./json-file.ts";

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
  /** Names of the classes by index, as far as the file gives them. */
  labels: Map<number, string>;
  multiLabel: boolean;
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
    labels: labelsOf(config),
    multiLabel: config["problem_type"] === "multi_label_classification",
  };
}

async function readPooling(directory: string): Promise<"mean" | "cls" | undefined> {
  const path = join(directory, "1_Pooling", "config.json");
  const config = await readJson(path);
  if (config === undefined) return undefined;
  if (config["pooling_mode_mean_tokens"] === true || config["pooling_mode"] === "mean") return "mean";
  if (config["pooling_mode_cls_token"] === true || config["pooling_mode"] === "cls") return "cls";
  throw bad(path, "asks for another pooling than mean or cls");
}

function labelsOf(config: JsonObject): Map<number, string> {
  const labels = new Map<number, string>();
  for (const [id, label] of Object.entries(jsonObject(config["id2label"]) ?? {})) {
    if (typeof label === "string") labels.set(Number(id), label);
  }
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
