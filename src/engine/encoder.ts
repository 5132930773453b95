// A sentence encoder (BERT family): text in, one pooled vector out.
import type { Llama, LlamaEmbeddingContext, LlamaModel, Token } from "node-llama-cpp";
import { RequestError } from "../core/errors.ts";
import type { Embeddings, ModelSpec } from "../core/ports.ts";
import { WordPiece } from "../core/word-piece.ts";
import type { BatchSteering } from "./batch-steering.ts";

export class Encoder {
  readonly #model: LlamaModel;
  readonly #context: LlamaEmbeddingContext;
  readonly #batches: BatchSteering;
  readonly contextTokens: number;
  /** For WordPiece vocabularies: the library's own splits Hangul, Devanagari and very long words otherwise than the reference. */
  readonly #wordPiece: WordPiece | undefined;

  private constructor(
    model: LlamaModel,
    context: LlamaEmbeddingContext,
    contextTokens: number,
    batches: BatchSteering,
  ) {
    this.#model = model;
    this.#context = context;
    this.#batches = batches;
    this.contextTokens = contextTokens;
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
      contextSize: contextTokens,
      // An encoder reads a text in one batch: attention goes both ways.
      batchSize: contextTokens,
      threads: spec.maxThreads,
      ignoreMemorySafetyChecks: true,
    });
    return new Encoder(model, context, contextTokens, batches);
  }

  get trainContextTokens(): number {
    return this.#model.trainContextSize;
  }

  async dispose(): Promise<void> {
    await this.#context.dispose();
    await this.#model.dispose();
  }

  async embed(texts: readonly string[], signal: AbortSignal): Promise<Embeddings> {
    const vectors: Float32Array[] = [];
    const tokens: number[] = [];
    for (const text of texts) {
      signal.throwIfAborted();
      const ids = this.#tokenize(text);
      this.#check(ids.length);
      // The library returns an empty vector for no tokens at all; [CLS] alone is what the reference pools then, with [SEP].
      const { bos } = this.#model.tokens;
      const input = ids.length === 0 && bos !== null ? [bos] : ids;
      const { vector } = await this.#batches.encoding(() => this.#context.getEmbeddingFor(input));
      vectors.push(Float32Array.from(vector));
      tokens.push(ids.length);
    }
    return { vectors, tokens };
  }

  #tokenize(text: string): Token[] {
    return (this.#wordPiece?.encode(text) as Token[] | undefined) ?? this.#model.tokenize(text);
  }

  /** The library needs fewer tokens than the context holds, [CLS] and [SEP] included, and does not cut. */
  #check(tokens: number): void {
    const most = this.contextTokens - 3;
    if (tokens <= most) return;
    throw new RequestError(
      "too_long",
      `the text has ${tokens} tokens, the encoder reads ${most}; nothing is cut silently`,
    );
  }
}

function wordPieceOf(model: LlamaModel): WordPiece | undefined {
  const { ggml } = model.fileInfo.metadata.tokenizer;
  if (ggml.model !== "bert") return undefined;
  const { tokens, unknown_token_id: unknownId = 100 } = ggml;
  // Files made by llama.cpp's converter do not say; they are of uncased models unless they do.
  const { lowercase = true, strip_accents: stripAccents = lowercase } =
    (ggml as { normalizer?: Normalizer }).normalizer ?? {};
  return new WordPiece({ tokens, unknownId, lowercase, stripAccents });
}

interface Normalizer {
  lowercase?: boolean;
  strip_accents?: boolean;
}
