// Classification by a generative model that has examples: it reads each as a vector (`core/readout.ts`), and a head is
// trained on these as on an encoder's. In memory only: what is learnt from a few dozen sentences is learnt again in seconds.
import type { ClassifierDefinition } from "../core/classifier.ts";
import { PipitError } from "../core/errors.ts";
import { LruMap } from "../core/lru.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { Clock, Embeddings, Engine, Logger } from "../core/ports.ts";
import { readoutPage } from "../core/readout.ts";
import { type HeadOpinion, TrainedClassifier } from "./trained-classifier.ts";

/** Examples that are read, each label's first ones: one costs as much as a message. */
const MOST_READ = 128;
/** Definitions whose heads are remembered; a request may bring its own, so there may be many. */
const MOST_HEADS = 16;

export interface ReaderRooms {
  engine: Pick<Engine, "readout">;
  clock: Clock;
  log: Logger;
  /** The loaded generative model; undefined while there is none. */
  decoderModel: () => ModelFile | undefined;
}

export class DecoderReader {
  readonly #rooms: ReaderRooms;
  readonly #heads = new LruMap<string, { pages: Pages; head: TrainedClassifier }>(MOST_HEADS);

  constructor(rooms: ReaderRooms) {
    this.#rooms = rooms;
  }

  /** Whether there is something to learn from: an example of every label. */
  canLearn({ labels, examples }: ClassifierDefinition): boolean {
    const known = new Set(examples.flatMap((example) => example.labels));
    return labels.length > 0 && labels.every(({ name }) => known.has(name));
  }

  async opinion(definition: ClassifierDefinition, text: string, signal: AbortSignal): Promise<HeadOpinion> {
    const { pages, head } = this.#of(definition);
    await head.ready(signal);
    pages.clear();
    return head.opinion(text, false, signal);
  }

  /** Another model reads otherwise. */
  forget(): void {
    this.#heads.clear();
  }

  #of(definition: ClassifierDefinition): { pages: Pages; head: TrainedClassifier } {
    const key = JSON.stringify(definition);
    const known = this.#heads.get(key);
    if (known) return known;
    const { engine, clock, log, decoderModel } = this.#rooms;
    const pages = new Pages(engine, definition);
    const head = new TrainedClassifier(firstOfEach(definition), {
      engine: pages,
      clock,
      log,
      encoder: () => decoderModel(),
    });
    const made = { pages, head };
    this.#heads.set(key, made);
    return made;
  }
}

/**
 * Reads sentences one by one, so that other questions come between them, and keeps what it has read: a question whose
 * deadline passes while its classifier still learns leaves the rest to the next one, which goes on from there.
 */
class Pages implements Pick<Engine, "embed"> {
  readonly #engine: ReaderRooms["engine"];
  readonly #definition: ClassifierDefinition;
  readonly #read = new Map<string, { vector: Float32Array; tokens: number }>();

  constructor(engine: ReaderRooms["engine"], definition: ClassifierDefinition) {
    this.#engine = engine;
    this.#definition = definition;
  }

  clear(): void {
    this.#read.clear();
  }

  async embed(texts: string[], signal?: AbortSignal): Promise<Embeddings> {
    const vectors: Float32Array[] = [];
    const tokens: number[] = [];
    for (const text of texts) {
      const own = this.#read.get(text) ?? (await this.#readOne(text, signal));
      vectors.push(own.vector);
      tokens.push(own.tokens);
    }
    return { vectors, tokens, cut: texts.map(() => false) };
  }

  async #readOne(text: string, signal?: AbortSignal) {
    const page = readoutPage(this.#definition.labels, text);
    const { vectors, tokens } = await this.#engine.readout([page], signal);
    const vector = vectors[0];
    if (vector === undefined) throw new PipitError("bug", "engine_failed", "the engine read a page and said nothing");
    const own = { vector, tokens: tokens[0] ?? 0 };
    this.#read.set(text, own);
    return own;
  }
}

/** One example of each label in turn, until there are enough. */
function firstOfEach(definition: ClassifierDefinition): ClassifierDefinition {
  const { labels, examples } = definition;
  if (examples.length <= MOST_READ) return definition;
  const turn = new Map(labels.map(({ name }) => [name, 0]));
  const ranked = examples.map((example) => {
    const first = example.labels[0] ?? "";
    const rank = turn.get(first) ?? 0;
    turn.set(first, rank + 1);
    return { example, rank };
  });
  ranked.sort((one, other) => one.rank - other.rank);
  return { ...definition, examples: ranked.slice(0, MOST_READ).map(({ example }) => example) };
}
