// Which tensor of a Hugging Face BERT or DistilBERT becomes which tensor of llama.cpp's `bert` architecture, and which make
// up a classification head. Every shape is checked against config.json before anything is written.
import type { ClassificationHead } from "../core/classification-head.ts";
import { badModelFile } from "./bounded-reader.ts";
import type { BertConfig } from "./bert-config.ts";
import { quoted } from "./gguf-metadata.ts";
import type { SafetensorsFile } from "./safetensors.ts";

export interface MappedTensor {
  /** Name in the safetensors file. */
  source: string;
  /** Name in the GGUF file. */
  target: string;
  /** As in PyTorch: slowest dimension first. */
  shape: number[];
}

export interface HeadTensors {
  activation: ClassificationHead["activation"];
  /** Dense weight, dense bias, output weight, output bias. */
  sources: [string, string, string, string];
  outputs: number;
}

// Names inside one layer, by architecture: [Hugging Face, llama.cpp, kind of shape].
const LAYER = {
  bert: {
    prefix: "encoder.layer.",
    parts: [
      ["attention.self.query", "attn_q", "square"],
      ["attention.self.key", "attn_k", "square"],
      ["attention.self.value", "attn_v", "square"],
      ["attention.output.dense", "attn_output", "square"],
      ["attention.output.LayerNorm", "attn_output_norm", "norm"],
      ["intermediate.dense", "ffn_up", "up"],
      ["output.dense", "ffn_down", "down"],
      ["output.LayerNorm", "layer_output_norm", "norm"],
    ],
  },
  distilbert: {
    prefix: "transformer.layer.",
    parts: [
      ["attention.q_lin", "attn_q", "square"],
      ["attention.k_lin", "attn_k", "square"],
      ["attention.v_lin", "attn_v", "square"],
      ["attention.out_lin", "attn_output", "square"],
      ["sa_layer_norm", "attn_output_norm", "norm"],
      ["ffn.lin1", "ffn_up", "up"],
      ["ffn.lin2", "ffn_down", "down"],
      ["output_layer_norm", "layer_output_norm", "norm"],
    ],
  },
} as const;

/** The trunk's tensors in the order they are written. @throws PipitError `bad_model_file` (kind `config`) */
export function mapTrunk(file: SafetensorsFile, config: BertConfig): MappedTensor[] {
  const { hiddenSize: hidden, feedForward, vocabularyTokens, tokenTypes, positions } = config;
  const find = new Finder(file, config.modelType);
  const table = (source: string, target: string, rows: number) =>
    find.map(`embeddings.${source}.weight`, `${target}.weight`, [rows, hidden]);
  const pair = (source: string, target: string, shape: number[]) => [
    find.map(`${source}.weight`, `${target}.weight`, shape),
    find.map(`${source}.bias`, `${target}.bias`, shape.slice(0, 1)),
  ];
  const shapes = { square: [hidden, hidden], norm: [hidden], up: [feedForward, hidden], down: [hidden, feedForward] };
  const { prefix, parts } = LAYER[config.modelType];
  const layers = Array.from({ length: config.layers }, (_, i) =>
    parts.flatMap(([source, target, shape]) => pair(`${prefix}${i}.${source}`, `blk.${i}.${target}`, shapes[shape])),
  );
  return [
    table("word_embeddings", "token_embd", vocabularyTokens),
    // DistilBERT has no token types; llama.cpp adds row 0 of this table only where the file has it.
    ...(config.modelType === "bert" ? [table("token_type_embeddings", "token_types", tokenTypes)] : []),
    table("position_embeddings", "position_embd", positions),
    ...pair("embeddings.LayerNorm", "token_embd_norm", [hidden]),
    ...layers.flat(),
  ];
}

/** A head of more classes than this is no classifier that anybody would name; it also bounds what a reply may hold. */
const MAX_CLASSES = 1000;

/** The classification head, or undefined where the file has none. */
export function mapHead(file: SafetensorsFile, config: BertConfig): HeadTensors | undefined {
  const output = file.tensors.get("classifier.weight");
  // Layers of the same name that tag words, answer questions or choose among texts: the trunk is imported alone.
  if (output === undefined || config.head === "other") return undefined;
  const { hiddenSize: hidden } = config;
  const outputs = output.shape[0] ?? 0;
  if (config.head === "regression" || (outputs === 1 && !config.multiLabel)) {
    throw badModelFile(file.path, "has a head of one number (a regression or a ranking), which gives no classes");
  }
  if (outputs > MAX_CLASSES)
    throw badModelFile(file.path, `has ${outputs} classes, at most ${MAX_CLASSES} can be used`);
  const foreign = [...config.labels.keys()].find((id) => id >= outputs);
  if (foreign !== undefined) {
    throw badModelFile(file.path, `has ${outputs} classes, id2label of config.json names class ${foreign}`);
  }
  const find = new Finder(file, config.modelType);
  const dense = config.modelType === "bert" ? "pooler.dense" : "pre_classifier";
  const named = (name: string, shape: number[]) => find.map(name, name, shape).source;
  return {
    activation: config.modelType === "bert" ? "tanh" : "relu",
    sources: [
      named(`${dense}.weight`, [hidden, hidden]),
      named(`${dense}.bias`, [hidden]),
      named("classifier.weight", [outputs, hidden]),
      named("classifier.bias", [outputs]),
    ],
    outputs,
  };
}

class Finder {
  readonly #file: SafetensorsFile;
  readonly #prefix: string;

  constructor(file: SafetensorsFile, modelType: BertConfig["modelType"]) {
    this.#file = file;
    this.#prefix = `${modelType}.`;
  }

  /** Names may carry the model's prefix, and old files call a norm's weight gamma and its bias beta. */
  map(name: string, target: string, shape: number[]): MappedTensor {
    const old = name.replace(/\.weight$/, ".gamma").replace(/\.bias$/, ".beta");
    const source = [name, this.#prefix + name, old, this.#prefix + old].find((candidate) =>
      this.#file.tensors.has(candidate),
    );
    if (source === undefined) throw badModelFile(this.#file.path, `has no tensor ${quoted(name)}`);
    const found = this.#file.tensors.get(source)?.shape ?? [];
    if (found.length !== shape.length || found.some((extent, i) => extent !== shape[i])) {
      const is = `[${found.join(", ")}]`;
      throw badModelFile(
        this.#file.path,
        `tensor ${quoted(source)} is ${is}, config.json asks for [${shape.join(", ")}]`,
      );
    }
    return { source, target, shape };
  }
}
