// What a model is asked to do with one question, by task. A task knows nothing of queues, journals or topics.
import { type ClassifierDefinition, defineClassifier, labelledTexts } from "../core/classifier.ts";
import { PipitError, RequestError } from "../core/errors.ts";
import { checkLabels } from "../core/labels.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock, Engine, Usage } from "../core/ports.ts";
import type { Classification } from "../core/reply.ts";
import type { Question } from "../core/request.ts";
import type { SessionNote } from "../core/session.ts";
import { answer } from "./answer-task.ts";
import type { Sessions } from "./sessions.ts";
import type { Classifiers } from "./classifiers.ts";
import type { ModelKeeper } from "./model-keeper.ts";
import { PartialStream } from "./partial-stream.ts";

export type Outcome =
  | { task: "answer"; text: string; finish: "stop" | "length"; session?: SessionNote }
  | ({ task: "classify" } & Classification);

export interface TaskResult {
  outcome: Outcome;
  model: string;
  usage: Usage;
  prefillMs: number;
  generateMs: number;
}

export interface TasksOptions {
  /** Least time between two partials of one answer. */
  streamIntervalMs: number;
  /** Abstain from classifying below this confidence. */
  threshold: number;
  models: {
    decoder: Pick<ModelKeeper, "state" | "whenReady">;
    /** Of that name, or the common one; undefined when the configuration wants none. */
    encoder: (model?: string) => Pick<ModelKeeper, "state" | "whenReady"> | undefined;
  };
  sessions: Sessions;
  publish: (message: OutgoingMessage) => void;
  /** A classifier from a file has answered: feedback may be about it. */
  onClassified: (question: Question, found: Classification & { classifier: string }) => void;
}

type Encoder = NonNullable<ReturnType<TasksOptions["models"]["encoder"]>>;

export class Tasks {
  readonly #options: TasksOptions;
  readonly #engine: Engine;
  readonly #classifiers: Classifiers;
  readonly #clock: Clock;

  constructor(options: TasksOptions, engine: Engine, classifiers: Classifiers, clock: Clock) {
    this.#options = options;
    this.#engine = engine;
    this.#classifiers = classifiers;
    this.#clock = clock;
  }

  async run(question: Question, signal: AbortSignal): Promise<TaskResult> {
    switch (question.route.task) {
      case "answer":
        return this.#answer(question, signal);
      case "classify":
        return this.#classify(question, signal);
      case "extract":
        throw new RequestError("bad_request", "this version does not extract records yet");
    }
  }

  /** Another model was loaded: what is known of the old one's preferences is worth nothing. */
  modelChanged(): void {
    this.#classifiers.forget();
  }

  async #answer(question: Question, signal: AbortSignal): Promise<TaskResult> {
    const { streamIntervalMs, publish, models, sessions } = this.#options;
    const model = await models.decoder.whenReady(signal);
    const { state } = models.decoder;
    const contextTokens = state.state === "ready" ? state.model.contextTokens : Infinity;
    const rooms = { engine: this.#engine, sessions, contextTokens };
    const partials = question.stream ? new PartialStream(question, streamIntervalMs, this.#clock, publish) : undefined;
    try {
      const { text, end, session } = await answer(rooms, question, signal, (piece) => partials?.push(piece));
      partials?.end();
      const { finish, usage, prefillMs, generateMs } = end;
      const outcome = { task: "answer" as const, text, finish, ...(session && { session }) };
      return { outcome, model, usage, prefillMs, generateMs };
    } catch (error) {
      // When the model's process dies the answer is begun again: this was not the last piece.
      if (error instanceof PipitError && error.code === "engine_died") partials?.drop();
      else partials?.end();
      throw error;
    }
  }

  /** By the encoder where there is one, alone or with the decoder's opinion; by the decoder otherwise. */
  async #classify(question: Question, signal: AbortSignal): Promise<TaskResult> {
    const { route, text } = question;
    const { models } = this.#options;
    const classifier = await this.#classifierOf(question, signal);
    const given = typeof classifier === "string" ? this.#classifiers.named(classifier).given : classifier;
    const encoder = models.encoder(given.model);
    await this.#modelsFor(encoder, given.labels.length > 0, signal);
    const { system, truncate } = route;
    const order = {
      classifier,
      text,
      explain: question.explain,
      cut: truncate,
      ...(system !== undefined && { system }),
    };
    const { usage, prefillMs, ...found } = await this.#classifiers.classify(order, signal);
    if (typeof classifier === "string") this.#options.onClassified(question, found);
    const keeper = found.by === "decoder" ? models.decoder : encoder;
    const model = (keeper ?? models.decoder).state.name;
    return { outcome: { task: "classify", ...found }, model, usage, prefillMs, generateMs: 0 };
  }

  /** Waits for the encoder, or for the decoder where that cannot be had and the labels are known without it. */
  async #modelsFor(encoder: Encoder | undefined, decoderWill: boolean, signal: AbortSignal): Promise<void> {
    const { decoder } = this.#options.models;
    if (encoder === undefined) return void (await decoder.whenReady(signal));
    try {
      await encoder.whenReady(signal);
    } catch (error) {
      if (signal.aborted || !decoderWill) throw error;
      await decoder.whenReady(signal);
    }
  }

  /** One with a name, unless the request brings labels of its own. Without any labels those of the encoder's own head. */
  async #classifierOf({ route, labels }: Question, signal: AbortSignal): Promise<string | ClassifierDefinition> {
    if (labels === route.labels) {
      if (route.classifier !== undefined) return route.classifier;
      if (labels.length > 0 && this.#classifiers.has(route.name)) return route.name;
    }
    if (labels.length === 0 && (await this.#bringsLabels(signal))) return defineClassifier({ name: route.name });
    checkLabels(labels);
    const known = new Set(labels.map(({ name }) => name));
    const examples = labelledTexts(route.examples.filter(({ label }) => known.has(label)));
    return defineClassifier({ name: route.name, labels, examples, threshold: this.#options.threshold });
  }

  async #bringsLabels(signal: AbortSignal): Promise<boolean> {
    const encoder = this.#options.models.encoder();
    await encoder?.whenReady(signal).catch((error: unknown) => {
      if (signal.aborted) throw error;
    });
    return encoder?.state.state === "ready" && encoder.state.file.head !== undefined;
  }
}
