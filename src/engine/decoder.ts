// A generative model and its context: writes answers and scores candidates. Every number is passed in; cancelling acts
// between batches; nothing is ever cut off a prompt silently.
import type {
  ControlledEvaluateInputItem,
  Llama,
  LlamaContext,
  LlamaContextSequence,
  LlamaModel,
  Token,
} from "node-llama-cpp";
import { RequestError } from "../core/errors.ts";
import type { Embeddings, GenerateJob, ModelSpec, Piece, ScoreJob, Scores, Turn, Usage } from "../core/ports.ts";
import { readoutTokens, readoutVector } from "../core/readout.ts";
import type { BatchSteering } from "./batch-steering.ts";
import { ChatTemplate } from "./chat-template.ts";
import { branchPoints, pathLogProbabilities } from "./label-trie.ts";
import { SequencePool } from "./sequence-pool.ts";
import { saveStates } from "./sequence-states.ts";
import { TextStream } from "./text-stream.ts";

/** Room an answer must have at least (or all it asked for, if that is less); a prompt that leaves less is too long. */
const LEAST_ANSWER_TOKENS = 16;

/** Stands for the end of an answer among the next tokens of a label. */
const END = -1 as Token;

export class Decoder {
  readonly #model: LlamaModel;
  readonly #context: LlamaContext;
  readonly #template: ChatTemplate;
  readonly #pool: SequencePool;
  readonly #batches: BatchSteering;

  /** The file of the model. */
  readonly path: string;

  private constructor(model: LlamaModel, context: LlamaContext, batches: BatchSteering, path: string) {
    this.path = path;
    this.#model = model;
    this.#context = context;
    this.#template = new ChatTemplate(model, model.fileInfo.metadata.tokenizer?.chat_template);
    this.#batches = batches;
    this.#pool = new SequencePool(Array.from({ length: context.totalSequences }, () => context.getSequence()));
  }

  static async load(llama: Llama, spec: ModelSpec, batches: BatchSteering, onProgress: (fraction: number) => void) {
    const model = await llama.loadModel({
      modelPath: spec.path,
      gpuLayers: 0,
      ignoreMemorySafetyChecks: true,
      onLoadProgress: onProgress,
    });
    return new Decoder(model, await createContext(model, spec, batches), batches, spec.path);
  }

  /**
   * The same model in a context of another size; this one is gone then, also when that fails. The weights stay where they
   * are, and the sequences keep the beginnings of their prompts.
   */
  async rebuilt(spec: ModelSpec): Promise<Decoder> {
    const states = await saveStates(this.#pool.free, spec);
    try {
      await this.#context.dispose();
      const context = await createContext(this.#model, spec, this.#batches);
      const decoder = new Decoder(this.#model, context, this.#batches, spec.path);
      await states.restore(decoder.#pool.free);
      return decoder;
    } catch (error) {
      await this.#model.dispose();
      throw error;
    } finally {
      states.remove();
    }
  }

  get contextTokens(): number {
    return this.#context.contextSize;
  }

  get trainContextTokens(): number {
    return this.#model.trainContextSize;
  }

  get vocabularyTokens(): number {
    return this.#model.fileInfo.metadata.tokenizer?.ggml?.tokens?.length ?? 0;
  }

  async dispose(): Promise<void> {
    await this.#context.dispose();
    await this.#model.dispose();
  }

  tokenize(turns: readonly Turn[]): Token[] {
    return this.#template.tokenize(turns);
  }

  async generate(job: GenerateJob, signal: AbortSignal, emit: (piece: Piece) => void): Promise<void> {
    const prompt = this.#template.tokenize(job.turns);
    this.#checkFits(prompt.length, Math.min(job.maxTokens, LEAST_ANSWER_TOKENS));
    await this.#pool.with(prompt, signal, async (sequence) => {
      const startedMs = performance.now();
      const cachedTokens = await this.#prefill(sequence, prompt, signal);
      const written = await this.#write(sequence, prompt, job, signal, emit);
      const usage: Usage = { promptTokens: prompt.length, cachedTokens, completionTokens: written.tokens };
      const prefillMs = written.firstMs - startedMs;
      emit({ kind: "end", finish: written.finish, usage, prefillMs, generateMs: performance.now() - written.firstMs });
    });
  }

  async score(job: ScoreJob, signal: AbortSignal): Promise<Scores> {
    const prompt = this.#template.tokenize(job.turns);
    const candidates = job.candidates.map((text) => this.#template.continuation(text));
    this.#checkFits(prompt.length, Math.max(...candidates.map((tokens) => tokens.length)));
    return this.#pool.with(prompt, signal, async (sequence) => {
      const startedMs = performance.now();
      const cachedTokens = await this.#prefill(sequence, prompt, signal);
      const ends = this.#ends(typeof job.turns === "string");
      const known = new Map<string, Map<number, number>>();
      for (const { path, next } of branchPoints(candidates, END)) {
        const tokens = [prompt[prompt.length - 1] as Token, ...(path as Token[])];
        const at = { start: prompt.length - 1, tokens };
        known.set(path.join(), await this.#nextLogProbabilities(sequence, at, next as Token[], ends));
        signal.throwIfAborted();
      }
      const logProbabilities = pathLogProbabilities(
        candidates,
        END,
        (path, token) => known.get(path.join())?.get(token) ?? -Infinity,
      );
      const usage: Usage = { promptTokens: prompt.length, cachedTokens, completionTokens: 0 };
      return { logProbabilities, usage, prefillMs: performance.now() - startedMs };
    });
  }

  /** The logits of one token in each stretch of the vocabulary, after each page. Nothing else leaves the library. */
  async readout(pages: readonly string[], signal: AbortSignal): Promise<Embeddings> {
    const wanted = readoutTokens(this.vocabularyTokens) as Token[];
    const vectors: Float32Array[] = [];
    const tokens: number[] = [];
    for (const page of pages) {
      const prompt = this.#template.tokenize(page);
      this.#checkFits(prompt.length, 1);
      const logits = await this.#pool.with(prompt, signal, async (sequence) => {
        await this.#prefill(sequence, prompt, signal);
        const generateNext = { logits: { filter: { tokens: wanted } } };
        const output = await sequence.controlledEvaluate([[prompt[prompt.length - 1]!, { generateNext }]]);
        this.#batches.batchEnded();
        return output[0]?.next.logits;
      });
      vectors.push(readoutVector(wanted.map((token) => logits?.get(token) ?? 0)));
      tokens.push(prompt.length);
    }
    return { vectors, tokens, cut: pages.map(() => false) };
  }

  #checkFits(promptTokens: number, answerTokens: number): void {
    const { contextSize } = this.#context;
    if (promptTokens + answerTokens <= contextSize) return;
    throw new RequestError(
      "too_long",
      `the prompt has ${promptTokens} tokens and ${answerTokens} are needed for the answer, ` +
        `the context holds ${contextSize}; nothing is cut silently`,
    );
  }

  /**
   * Brings the sequence to the prompt without its last token, which the caller evaluates for its logits. Returns how many
   * prompt tokens were in the cache. Reads in batches of the planned size: an abort is seen between two of them.
   */
  async #prefill(sequence: LlamaContextSequence, prompt: Token[], signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const shared = Math.min(sequence.compareContextTokens(prompt).firstDifferentIndex, prompt.length - 1);
    await this.#eraseFrom(sequence, shared);
    const cached = sequence.nextTokenIndex;
    for (let index = cached; index < prompt.length - 1; index += this.#context.batchSize) {
      const batch = prompt.slice(index, Math.min(index + this.#context.batchSize, prompt.length - 1));
      await sequence.evaluateWithoutGeneratingNewTokens(batch);
      this.#batches.batchEnded();
      signal.throwIfAborted();
      await this.#batches.rest();
    }
    return cached;
  }

  async #write(
    sequence: LlamaContextSequence,
    prompt: Token[],
    job: GenerateJob,
    signal: AbortSignal,
    emit: (piece: Piece) => void,
  ): Promise<{ tokens: number; finish: "stop" | "length"; firstMs: number }> {
    const text = new TextStream<Token>((tokens, before) => this.#model.detokenize(tokens, false, before));
    const mostTokens = Math.min(job.maxTokens, this.#context.contextSize - prompt.length);
    const options = { temperature: job.temperature, ...(job.seed !== undefined && { seed: job.seed }) };
    let tokens = 0;
    let firstMs: number | undefined;
    let finish: "stop" | "length" = "stop";
    for await (const token of sequence.evaluate(prompt.slice(-1), options)) {
      this.#batches.batchEnded();
      firstMs ??= performance.now();
      signal.throwIfAborted();
      tokens += 1;
      emitText(emit, text.push(token));
      if (tokens >= mostTokens) {
        finish = "length";
        break;
      }
      await this.#batches.rest();
    }
    this.#batches.batchEnded();
    emitText(emit, text.end());
    return { tokens, finish, firstMs: firstMs ?? performance.now() };
  }

  /**
   * What an answer may end with: one or the other token of the model, whatever the library calls them (for SmolLM2 its
   * `eot` is not <|im_end|>), and on a page of plain text the end of the line.
   */
  #ends(isPage: boolean): Token[] {
    const { eos, eot } = this.#model.tokens;
    const lineEnds = isPage ? ["\n", "\n\n"].map((text) => this.#template.continuation(text)[0]) : [];
    return [...new Set([eos, eot, ...lineEnds])].filter((token) => token !== null && token !== undefined);
  }

  /** Log-probabilities of `next` (tokens, or END for any of `ends`) after `tokens`, put at position `start`. */
  async #nextLogProbabilities(
    sequence: LlamaContextSequence,
    { start, tokens }: { start: number; tokens: Token[] },
    next: Token[],
    ends: readonly Token[],
  ): Promise<Map<number, number>> {
    await this.#eraseFrom(sequence, start);
    const last = tokens.length - 1;
    const wanted = next.flatMap((token) => (token === END ? ends : [token]));
    // The likeliest token is needed to make the weights add up to one; `includeMax` of 3.22.1 leaves it out.
    const generateNext = { totalLogitWeight: true, logits: { filter: { tokens: wanted, includeTop: 1 } } };
    const input = tokens.map((token, index): ControlledEvaluateInputItem =>
      index < last ? token : [token, { generateNext }],
    );
    const output = (await sequence.controlledEvaluate(input)).at(last)?.next;
    this.#batches.batchEnded();
    const logits = output?.logits ?? new Map<Token, number>();
    const normaliser = Math.max(...logits.values()) + Math.log(output?.totalLogitWeight ?? 1);
    const logProbability = (token: Token) => (logits.get(token) ?? -Infinity) - normaliser;
    const ended = Math.log(ends.reduce((sum, token) => sum + Math.exp(logProbability(token)), 0));
    return new Map(next.map((token) => [token, token === END ? ended : logProbability(token)]));
  }

  async #eraseFrom(sequence: LlamaContextSequence, start: number): Promise<void> {
    if (start < sequence.nextTokenIndex) {
      await sequence.eraseContextTokenRanges([{ start, end: sequence.nextTokenIndex }]);
    }
  }
}

function createContext(model: LlamaModel, spec: ModelSpec, batches: BatchSteering): Promise<LlamaContext> {
  // The library's own memory check ignores MemAvailable and cgroups; the plan in `spec` has taken care of both.
  return model.createContext({
    contextSize: spec.contextTokens,
    batchSize: spec.batchTokens,
    sequences: spec.sequences,
    threads: spec.maxThreads,
    // A sliding window forgets the static prefix; at these context sizes keeping all of it costs little.
    swaFullCache: true,
    batching: { itemPrioritizationStrategy: batches.prioritize },
    ignoreMemorySafetyChecks: true,
    failedCreationRemedy: false,
  });
}

function emitText(emit: (piece: Piece) => void, text: string): void {
  if (text.length > 0) emit({ kind: "text", text });
}
