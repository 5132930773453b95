// One classifier. It learns: embeds its examples, trains its head, keeps it as a version, trains anew when the encoder, the
// definition or the examples have changed. Texts are embedded once for each encoder. Or its head came with its model and is
// applied as it is.
import { createHash } from "node:crypto";
import { type ClassificationHead, classProbabilities } from "../core/classification-head.ts";
import { type ClassifierDefinition, definitionByHead, type LabelledText, linkOf } from "../core/classifier.ts";
import { PipitError, RequestError } from "../core/errors.ts";
import { headProbabilities, nearestOf, type Neighbour } from "../core/head.ts";
import type { HeadStore, HeadVersion } from "../core/head-store.ts";
import { labelSentence, trainHead, type TrainedHead } from "../core/head-training.ts";
import { normalised } from "../core/matrix.ts";
import { encoderId, type ModelFile } from "../core/model-file.ts";
import type { Clock, Engine, Logger } from "../core/ports.ts";

/** Texts that one call to the engine carries: a question that waits behind a training waits for these. */
const EMBED_BATCH = 16;
/** Learnt examples beyond this push the oldest out. */
const MOST_LEARNED = 1000;

export interface TrainingRooms {
  engine: Pick<Engine, "embed">;
  clock: Clock;
  log: Logger;
  /** Without a store, heads live as long as the process. */
  store?: HeadStore;
  /** The encoder of that name, or the common one; undefined while it is not loaded. */
  encoder: (model?: string) => ModelFile | undefined;
}

export interface HeadOpinion {
  /** In the order of the definition's labels. */
  probabilities: number[];
  nearest: Neighbour & Partial<LabelledText>;
  /** Nothing the classifier knows is like this text. */
  outOfScope: boolean;
  version: number;
  /** Tokens the encoder read, whether the text had more, and how long it took. */
  tokens: number;
  cut: boolean;
  embedMs: number;
}

export class TrainedClassifier {
  readonly #given: ClassifierDefinition;
  readonly #rooms: TrainingRooms;
  readonly #definitionId: string;
  #version: HeadVersion | undefined;
  /** The stored version was looked for. */
  #opened = false;
  /** Trainings, one after the other; never rejects. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(definition: ClassifierDefinition, rooms: TrainingRooms) {
    this.#given = definition;
    this.#rooms = rooms;
    const { kind, labels, examples } = definition;
    this.#definitionId = createHash("sha256")
      .update(JSON.stringify([kind, labels, examples]))
      .digest("hex");
  }

  /** With the labels of the model's own head, once that is loaded and where it answers. */
  get definition(): ClassifierDefinition {
    return this.#own?.definition ?? this.#given;
  }

  /** As it was given. */
  get given(): ClassifierDefinition {
    return this.#given;
  }

  /** Its head came with its model: nothing is learnt. */
  get isFixed(): boolean {
    return this.#own !== undefined;
  }

  get version(): number {
    return this.#version?.version ?? 0;
  }

  /** Examples known now: of the definition and learnt. */
  get examples(): number {
    return this.#version?.texts.length ?? this.definition.examples.length;
  }

  get validation(): TrainedHead["validation"] | undefined {
    return this.#version?.head.validation;
  }

  /** Trains if something has changed; after the first time this costs nothing. Rejects `model_unavailable` without an encoder. */
  async ready(signal: AbortSignal): Promise<HeadVersion> {
    const version = this.#version;
    if (version && this.#fits(version)) return version;
    return this.#inTurn(() => this.#ensure(signal));
  }

  /** @throws RequestError `too_long` unless `cut`, with which the beginning is read. */
  async opinion(text: string, cut: boolean, signal: AbortSignal): Promise<HeadOpinion> {
    const own = this.#own;
    if (own) {
      const { vector, ...read } = await this.#read(own.file, text, cut, signal);
      const probabilities = classProbabilities(own.head, vector);
      return { probabilities, nearest: { index: -1, similarity: -1 }, outOfScope: false, version: 0, ...read };
    }
    const { head, vectors, texts, version } = await this.ready(signal);
    const { vector, ...read } = await this.#read(this.#encoder(), text, cut, signal);
    if (vector.length !== head.weights[0]?.length) {
      throw new PipitError("transient", "model_unavailable", "the encoder was replaced in the middle of a question");
    }
    const nearest = nearestOf(vectors, vector);
    const { scope } = this.definition;
    const least = scope === "off" ? -1 : scope === "auto" ? head.scopeThreshold : scope;
    return {
      probabilities: headProbabilities(head, vector),
      nearest: { ...nearest, ...texts[nearest.index] },
      outOfScope: vectors.length > 0 && nearest.similarity < least,
      version,
      ...read,
    };
  }

  /** Adds examples, trains and stores a new version; an equal text that had another label is replaced. */
  async learn(examples: readonly LabelledText[], signal: AbortSignal): Promise<HeadVersion> {
    return this.#inTurn(async () => {
      const { learned } = await this.#ensure(signal);
      const fresh = new Set(examples.map(({ text }) => text));
      const kept = learned.filter(({ text }) => !fresh.has(text));
      return this.#train("feedback", [...kept, ...examples].slice(-MOST_LEARNED), signal);
    });
  }

  /** Trains a new version even if nothing has changed. Rejects when the head came with the model. */
  async retrain(signal: AbortSignal): Promise<HeadVersion> {
    return this.#inTurn(async () => {
      await this.#open();
      return this.#train("request", this.#version?.learned ?? [], signal);
    });
  }

  /** Back to an older version, with the examples it had learnt. */
  async rollback(version?: number): Promise<number> {
    return this.#inTurn(async () => {
      const { store } = this.#rooms;
      if (store === undefined)
        throw new PipitError("config", "no_store", "heads are not stored, there is no older version");
      const number = await store.rollback(this.definition.name, version);
      this.#version = await store.current(this.definition.name);
      return number;
    });
  }

  async #ensure(signal: AbortSignal): Promise<HeadVersion> {
    await this.#open();
    const version = this.#version;
    if (version && this.#fits(version)) return version;
    const reason = version === undefined || version.definition !== this.#definitionId ? "definition" : "encoder";
    return this.#train(reason, version?.learned ?? [], signal);
  }

  async #open(): Promise<void> {
    if (this.#opened) return;
    this.#version = await this.#rooms.store?.current(this.definition.name);
    this.#opened = true;
  }

  #fits({ encoder, definition }: HeadVersion): boolean {
    const loaded = this.#rooms.encoder(this.#given.model);
    return definition === this.#definitionId && loaded !== undefined && encoder === encoderId(loaded);
  }

  /** The model's own head, where it is what answers. */
  get #own(): { file: ModelFile; head: ClassificationHead; definition: ClassifierDefinition } | undefined {
    const file = this.#rooms.encoder(this.#given.model);
    if (file?.head === undefined) return undefined;
    const definition = definitionByHead(this.#given, file.head);
    return definition && { file, head: file.head, definition };
  }

  #encoder(): ModelFile {
    const file = this.#rooms.encoder(this.#given.model);
    if (file) return file;
    const which = this.#given.model === undefined ? "no encoder" : `model ${this.#given.model}`;
    throw new PipitError("transient", "model_unavailable", `${which} is not loaded`);
  }

  async #read({ path }: ModelFile, text: string, cut: boolean, signal: AbortSignal) {
    const startedMs = this.#rooms.clock.nowMs();
    const found = await this.#rooms.engine.embed([text], signal, { path, cut });
    const embedMs = this.#rooms.clock.nowMs() - startedMs;
    const [vector = new Float32Array(0)] = found.vectors;
    return { vector, tokens: found.tokens[0] ?? 0, cut: found.cut[0] ?? false, embedMs };
  }

  async #train(reason: string, learned: LabelledText[], signal: AbortSignal): Promise<HeadVersion> {
    const { name, kind, labels, examples } = this.#given;
    if (this.isFixed) {
      const what = `the head of classifier ${name} came with its model; give examples to have one trained here`;
      throw new RequestError("bad_request", what);
    }
    if (labels.length === 0) {
      const what = `classifier ${name} names no labels, and its model brings none`;
      throw new RequestError("bad_request", what);
    }
    const file = this.#encoder();
    const encoder = encoderId(file);
    const startedMs = this.#rooms.clock.nowMs();
    const position = new Map(labels.map((label, index) => [label.name, index]));
    // Labels may have gone from the definition since something was learnt.
    const known = learned.filter((example) => example.labels.every((label) => position.has(label)));
    const corrected = new Set(known.map(({ text }) => text));
    const texts = [...examples.filter(({ text }) => !corrected.has(text)), ...known];
    const described = labels.filter((label) => kind !== "yes_no" || label.description !== undefined);
    const vectors = await this.#vectors(
      [...texts.map(({ text }) => text), ...described.map(labelSentence)],
      file,
      signal,
    );
    const positions = (own: readonly string[]) => own.map((label) => position.get(label) ?? 0);
    const head = trainHead({
      labels: labels.map((label) => label.name),
      link: linkOf(kind),
      examples: texts.map((example, index) => ({ vector: vectors[index]!, labels: positions(example.labels) })),
      anchors: described.map((label, index) => ({
        vector: vectors[texts.length + index]!,
        labels: positions([label.name]),
      })),
    });
    const trainedMs = this.#rooms.clock.wallMs();
    const definition = this.#definitionId;
    const made = {
      trainedMs,
      reason,
      encoder,
      definition,
      learned: known,
      texts,
      vectors: vectors.slice(0, texts.length),
      head,
    };
    const version = (await this.#rooms.store?.append(name, made)) ?? this.version + 1;
    this.#version = { ...made, version };
    const tookMs = Math.round(this.#rooms.clock.nowMs() - startedMs);
    const { accuracy } = head.validation;
    this.#rooms.log.info(
      { classifier: name, version, reason, examples: texts.length, accuracy, tookMs },
      "classifier trained",
    );
    return this.#version;
  }

  /** Vectors of length 1; those of the present version are used again. */
  async #vectors(texts: string[], file: ModelFile, signal: AbortSignal): Promise<Float32Array[]> {
    const known = new Map<string, Float32Array>();
    const present = this.#version;
    if (present?.encoder === encoderId(file)) {
      for (const [index, { text }] of present.texts.entries()) known.set(text, present.vectors[index]!);
    }
    const missing = [...new Set(texts)].filter((text) => !known.has(text));
    for (let index = 0; index < missing.length; index += EMBED_BATCH) {
      const batch = missing.slice(index, index + EMBED_BATCH);
      // An example that is too long teaches by its beginning; it must not keep the others from being learnt.
      const { vectors } = await this.#rooms.engine.embed(batch, signal, { path: file.path, cut: true });
      for (const [at, text] of batch.entries()) known.set(text, Float32Array.from(normalised(vectors[at]!)));
    }
    return texts.map((text) => known.get(text)!);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
