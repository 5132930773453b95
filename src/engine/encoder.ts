// A text encoder (BERT family): text in, one pooled vector out.
import type { Llama, LlamaEmbeddingContext, LlamaModel, Token } from "node-llama-cpp";
import { RequestError } from "../core/errors.ts";
import type { Embeddings, ModelSpec } from "../core/ports.ts";
import { WordPiece } from "../core/word-piece.ts";
import type { BatchSteering } from "./batch-steering.ts";

export class Encoder {
  readonly #model: LlamaModel;
  readonly #context: LlamaEmbeddingContext;
  readonly #batches: BatchSteering;
  /** Tokens of a text, [CLS] and [SEP] included. */
  readonly contextTokens: number;
  readonly #prefix: string;
  /** For WordPiece vocabularies: the library's own splits Hangul, Devanagari and very long words otherwise than the reference. */
  readonly #wordPiece: WordPiece | undefined;

  private constructor(
    model: LlamaModel,
    context: LlamaEmbeddingContext,
    { contextTokens, prefix = "" }: Pick<ModelSpec, "contextTokens" | "prefix">,
    batches: BatchSteering,
  ) {
    this.#model = model;
    this.#context = context;
    this.#batches = batches;
    this.contextTokens = contextTokens;
    this.#prefix = prefix;
    this.#wordPiece = wordPieceOf(model);
  }

  static async load(
    llama: Llama,
    spec: ModelSpec,
    batches: BatchSteering,
    onProgress: (fraction: number) => void,
  ): Promise<Encoder> {
    const model = await llama.loadModel({
      modelPath: spec.path,
      gpuLayers: 0,
      ignoreMemorySafetyChecks: true,
      onLoadProgress: onProgress,
    });
    const contextTokens = Math.min(spec.contextTokens, model.trainContextSize);
    const context = await model.createEmbeddingContext({
      // The library takes fewer tokens than the context holds, however many the model was made for.
      contextSize: contextTokens + 1,
      // An encoder reads a text in one batch: attention goes both ways.
      batchSize: contextTokens + 1,
      threads: spec.maxThreads,
      ignoreMemorySafetyChecks: true,
    });
    return new Encoder(model, context, { ...spec, contextTokens }, batches);
  }

  get trainContextTokens(): number {
    return this.#model.trainContextSize;
  }

  async dispose(): Promise<void> {
    await this.#context.dispose();
    await this.#model.dispose();
  }

  /** @throws RequestError `too_long` unless `cut`, which reads the beginning, as the reference's truncation does. */
  async embed(texts: readonly string[], cut: boolean, signal: AbortSignal): Promise<Embeddings> {
    const found: Embeddings = { vectors: [], tokens: [], cut: [] };
    // [CLS] and [SEP] come on top.
    const most = this.contextTokens - 2;
    for (const text of texts) {
      signal.throwIfAborted();
      const all = this.#tokenize(this.#prefix + text);
      const isLonger = all.length > most;
      if (isLonger && !cut) throw tooLong(all.length, most);
      const ids = isLonger ? all.slice(0, most) : all;
      // The library returns an empty vector for no tokens at all; [CLS] alone is what the reference pools then, with [SEP].
      const { bos } = this.#model.tokens;
      const input = ids.length === 0 && bos !== null ? [bos] : ids;
      const { vector } = await this.#batches.encoding(() => this.#context.getEmbeddingFor(input));
      found.vectors.push(Float32Array.from(vector));
      found.tokens.push(ids.length);
      found.cut.push(isLonger);
    }
    return found;
  }

  #tokenize(text: string): Token[] {
    return (this.#wordPiece?.encode(text) as Token[] | undefined) ?? this.#model.tokenize(text);
  }
}

function tooLong(tokens: number, most: number): RequestError {
  return new RequestError(
    "too_long",
    `the text has ${tokens} tokens, the encoder reads ${most}; nothing is cut silently`,
  );
}

function wordPieceOf(model: LlamaModel): WordPiece | undefined {
  const { ggml } = model.fileInfo.metadata.tokenizer;
  if (ggml.model !== "bert") return undefined;
  const { tokens, unknown_token_id: unknownId = 100 } = ggml;
  // Files made by llama.cpp's converter do not say; they are of uncased models unless they do.
  const normalizer = (ggml as { normalizer?: Normalizer }).normalizer ?? {};
  const {
    lowercase = true,
    strip_accents: stripAccents = lowercase,
    handle_chinese_chars: ideographs = true,
  } = normalizer;
  return new WordPiece({ tokens, unknownId, lowercase, stripAccents, ideographs });
}

interface Normalizer {
  lowercase?: boolean;
  strip_accents?: boolean;
  handle_chinese_chars?: boolean;
}
