// Every classifier of the agent and the cascade that answers: exact repeat → head → decoder where the head is not sure.
// Without an encoder the decoder answers alone, without a decoder the head does.
import { createHash } from "node:crypto";
import { type ClassifierDefinition, DEFAULT_DECODER_MARGIN } from "../core/classifier.ts";
import { PipitError, RequestError, toError } from "../core/errors.ts";
import type { VersionSummary } from "../core/head-store.ts";
import { decide, type LabelDecision } from "../core/labels.ts";
import { LruMap } from "../core/lru.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { Engine, Usage } from "../core/ports.ts";
import { describe } from "../core/request-fields.ts";
import type { Classification } from "../core/reply.ts";
import type { DecoderClassifier } from "./decoder-classifier.ts";
import { DecoderReader } from "./decoder-reader.ts";
import { SingleFlight } from "./single-flight.ts";
import { type HeadOpinion, TrainedClassifier, type TrainingRooms } from "./trained-classifier.ts";

/** Answers remembered for exact repeats, and the longest text worth remembering: together at most 2 MB. */
const CACHE = { entries: 1024, characters: 500 } as const;
/** Label sets that came with requests, each trained in memory only. */
const MOST_PASSING = 32;
/**
 * A decoder's opinion against a head's where both are asked, as powers of their probabilities. By cross-validation on the
 * examples of home intents 0.5 is best with 3 examples a label (mean loss 0.145 against 0.151 of the head alone), 0.1 to
 * 0.3 with 8; accuracy is the same within one sentence of 400 for all of them.
 */
const DECODER_WEIGHT = 0.3;

export interface ClassifierRooms extends TrainingRooms {
  engine: Pick<Engine, "embed" | "readout">;
  /** Judges by label scores where there are no examples to learn from. */
  decoder: Pick<DecoderClassifier, "classify" | "forget">;
  /** The loaded generative model; undefined while there is none. */
  decoderModel: () => ModelFile | undefined;
}

export interface ClassifyOrder {
  /** A configured classifier by name, or one that came with a route or a request. */
  classifier: string | ClassifierDefinition;
  text: string;
  /** System text for the decoder. */
  system?: string;
  /** Also say which example was nearest. */
  explain?: boolean;
  /** Read the beginning of a text that is too long for the encoder, and say so. */
  cut?: boolean;
}

export interface ClassifierVerdict extends Classification {
  classifier: string;
  /** Version of the head that answered; 0 when none did. */
  version: number;
  /** All labels that hold, of a `multi` classifier. */
  labels?: string[];
  usage: Usage;
  prefillMs: number;
}

/** What the decoder thinks, by whichever way. */
type DecoderOpinion = Omit<HeadOpinion, "version" | "tokens"> & { usage: Usage };

const NO_USAGE: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };

export class Classifiers {
  readonly #rooms: ClassifierRooms;
  readonly #reader: DecoderReader;
  #named: Map<string, TrainedClassifier>;
  readonly #passing = new LruMap<string, TrainedClassifier>(MOST_PASSING);
  readonly #flights = new SingleFlight<ClassifierVerdict>();
  readonly #cache = new LruMap<string, ClassifierVerdict>(CACHE.entries);

  constructor(definitions: readonly ClassifierDefinition[], rooms: ClassifierRooms) {
    this.#rooms = rooms;
    this.#reader = new DecoderReader(rooms);
    this.#named = new Map();
    this.redefine(definitions);
  }

  get names(): string[] {
    return [...this.#named.keys()];
  }

  has(name: string): boolean {
    return this.#named.has(name);
  }

  /** Takes new definitions; a head whose labels and examples are the same is kept. */
  redefine(definitions: readonly ClassifierDefinition[]): void {
    const before = this.#named;
    this.#named = new Map(
      definitions.map((definition) => {
        const old = before.get(definition.name);
        const same = old !== undefined && JSON.stringify(old.given) === JSON.stringify(definition);
        return [definition.name, same ? old : new TrainedClassifier(definition, this.#rooms)];
      }),
    );
    this.#cache.clear();
  }

  /** Throws a RequestError `bad_request` for a name nobody configured. */
  named(name: string): TrainedClassifier {
    const found = this.#named.get(name);
    if (found) return found;
    const known = this.names.join(", ") || "none";
    throw new RequestError("bad_request", `no classifier ${describe(name)}; configured: ${known}`);
  }

  versions(name: string): Promise<VersionSummary[]> {
    this.named(name);
    return this.#rooms.store?.versions(name) ?? Promise.resolve([]);
  }

  /** A model was loaded or unloaded: answers given by another one are not repeated. */
  forget(): void {
    this.#cache.clear();
    this.#rooms.decoder.forget();
    this.#reader.forget();
  }

  async classify(order: ClassifyOrder, signal: AbortSignal): Promise<ClassifierVerdict> {
    const { classifier, text, system, explain, cut = false } = order;
    const trained = typeof classifier === "string" ? this.named(classifier) : this.#passingOf(classifier);
    const { name } = trained.given;
    const key = JSON.stringify([keyOf(trained), trained.version, system, text, cut]);
    const known = this.#cache.get(key);
    if (known) return presented({ ...known, by: "cache", usage: NO_USAGE, prefillMs: 0 }, explain);
    const passing = typeof classifier !== "string";
    const verdict = await this.#flights.run(key, signal, (shared) => this.#decide(trained, passing, order, shared));
    if (text.length <= CACHE.characters) {
      this.#cache.set(JSON.stringify([keyOf(trained), trained.version, system, text, cut]), {
        ...verdict,
        classifier: name,
      });
    }
    return presented(verdict, explain);
  }

  #passingOf(definition: ClassifierDefinition): TrainedClassifier {
    const key = JSON.stringify(definition);
    const known = this.#passing.get(key);
    if (known) return known;
    const { store: _, ...rooms } = this.#rooms;
    const made = new TrainedClassifier(definition, rooms);
    this.#passing.set(key, made);
    return made;
  }

  async #decide(
    trained: TrainedClassifier,
    passing: boolean,
    { text, system, cut = false }: ClassifyOrder,
    signal: AbortSignal,
  ): Promise<ClassifierVerdict> {
    const { definition } = trained;
    if (this.#rooms.encoder(definition.model) === undefined) {
      return this.#byDecoder(definition, text, system, signal);
    }
    const opinion = await trained.opinion(text, cut, signal);
    const byExamples = passing && !trained.isFixed;
    if (definition.kind === "multi") return multiVerdict(definition, opinion, byExamples);
    const alone = singleVerdict(definition, opinion, opinion.probabilities, byExamples);
    const { decoderMargin = DEFAULT_DECODER_MARGIN } = definition;
    const unsure = !opinion.outOfScope && (alone.margin ?? 1) < decoderMargin;
    if (!unsure || this.#rooms.decoderModel() === undefined) return alone;
    try {
      const { probabilities, usage, embedMs: prefillMs } = await this.#scores(definition, text, system, signal);
      const joined = joinOpinions(opinion.probabilities, probabilities);
      return { ...singleVerdict(definition, opinion, joined, byExamples), by: "decoder", usage, prefillMs };
    } catch (error) {
      if (signal.aborted) throw error;
      // The second opinion is a bonus; a prompt that does not fit or a decoder that has just gone costs only that.
      const { name: classifier } = definition;
      const sentence = "no second opinion of the decoder";
      if (error instanceof RequestError) this.#rooms.log.debug({ classifier, reason: error.message }, sentence);
      else this.#rooms.log.warn({ classifier, err: toError(error) }, sentence);
      return alone;
    }
  }

  async #byDecoder(
    definition: ClassifierDefinition,
    text: string,
    system: string | undefined,
    signal: AbortSignal,
  ): Promise<ClassifierVerdict> {
    if (this.#rooms.decoderModel() === undefined)
      throw unavailable("neither a fitting encoder nor a decoder is loaded");
    if (definition.labels.length === 0) throw unavailable("the labels are those of a model that is not loaded");
    const { usage, ...opinion } = await (this.#reader.canLearn(definition)
      ? this.#reading(definition, text, signal)
      : this.#scores(definition, text, system, signal));
    const receipt = { ...opinion, version: 0, tokens: usage.promptTokens };
    const verdict =
      definition.kind === "multi"
        ? multiVerdict(definition, receipt, false)
        : singleVerdict(definition, receipt, receipt.probabilities, false);
    return { ...verdict, by: "decoder", usage };
  }

  /** What the decoder has learnt of examples of every label: the better of its two ways. */
  async #reading(definition: ClassifierDefinition, text: string, signal: AbortSignal): Promise<DecoderOpinion> {
    const opinion = await this.#reader.opinion(definition, text, signal);
    return { ...opinion, usage: { ...NO_USAGE, promptTokens: opinion.tokens } };
  }

  /**
   * How probable the decoder finds each label after the page of labels and examples. The worse way where there are
   * examples, but the one that errs least like a head on vectors, so it is the second opinion of the cascade.
   */
  async #scores(
    { kind, labels, examples }: ClassifierDefinition,
    text: string,
    system: string | undefined,
    signal: AbortSignal,
  ): Promise<DecoderOpinion> {
    if (kind === "multi") throw unavailable("several labels of one text need an encoder, or examples of every label");
    const shown = examples.map((example) => ({ text: example.text, label: example.labels[0] ?? "" }));
    const prompt = { labels, examples: shown, ...(system !== undefined && { system }) };
    const { probabilities, usage, prefillMs } = await this.#rooms.decoder.classify(prompt, text, {}, signal);
    return {
      probabilities: labels.map(({ name }) => probabilities[name] ?? 0),
      nearest: { index: -1, similarity: -1 },
      outOfScope: false,
      cut: false,
      usage,
      embedMs: prefillMs,
    };
  }
}

function unavailable(what: string): PipitError {
  return new PipitError("transient", "model_unavailable", what);
}

function keyOf({ given }: TrainedClassifier): string {
  return createHash("sha256").update(JSON.stringify(given)).digest("base64");
}

/** Both opinions multiplied: where the head wavers between two labels, the decoder tips the scale. */
function joinOpinions(head: readonly number[], decoder: readonly number[]): number[] {
  const weights = head.map((own, index) => own * (decoder[index] ?? 0) ** DECODER_WEIGHT);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return total > 0 ? weights.map((weight) => weight / total) : [...head];
}

function singleVerdict(
  { name, labels, threshold, abstainLabel }: ClassifierDefinition,
  opinion: HeadOpinion,
  probabilities: readonly number[],
  passing: boolean,
): ClassifierVerdict {
  const rule = { threshold: opinion.outOfScope ? Infinity : threshold, abstainLabel };
  const decision = decide(
    labels.map((label) => label.name),
    probabilities,
    rule,
  );
  return { ...answerOf(decision), ...headReceipt(name, opinion, passing) };
}

function multiVerdict(
  { name, labels, threshold, abstainLabel }: ClassifierDefinition,
  opinion: HeadOpinion,
  passing: boolean,
): ClassifierVerdict {
  const { probabilities, outOfScope } = opinion;
  const names = labels.map((label) => label.name);
  const decision = decide(names, probabilities, { threshold: outOfScope ? Infinity : threshold, abstainLabel });
  const held = outOfScope ? [] : names.filter((_, index) => (probabilities[index] ?? 0) >= threshold);
  return { ...answerOf(decision), labels: held, ...headReceipt(name, opinion, passing) };
}

function answerOf({ label, confidence, margin, probabilities }: LabelDecision) {
  return { label, confidence, margin, probabilities };
}

function headReceipt(classifier: string, opinion: HeadOpinion, passing: boolean) {
  const { version, tokens, cut, embedMs } = opinion;
  const { text, labels, similarity } = opinion.nearest;
  return {
    by: passing ? ("examples" as const) : ("head" as const),
    classifier,
    version,
    ...(cut && { truncated: true }),
    ...(text !== undefined && { nearest: { text, label: labels?.join(", ") ?? "", similarity } }),
    usage: { ...NO_USAGE, promptTokens: tokens },
    prefillMs: embedMs,
  };
}

/** The nearest example is somebody's text: only those who ask for it get it. */
function presented(verdict: ClassifierVerdict, explain = false): ClassifierVerdict {
  if (explain) return verdict;
  const { nearest: _, ...rest } = verdict;
  return rest;
}
