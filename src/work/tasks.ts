// What a model is asked to do with one question, by task. A task knows nothing of queues, journals or topics.
import { type ClassifierDefinition, defineClassifier, labelledTexts } from "../core/classifier.ts";
import { PipitError, RequestError } from "../core/errors.ts";
import { checkLabels } from "../core/labels.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock, Engine, Usage } from "../core/ports.ts";
import type { Classification } from "../core/reply.ts";
import type { Question } from "../core/request.ts";
import { answer } from "./answer-task.ts";
import type { Classifiers } from "./classifiers.ts";
import type { ModelKeeper } from "./model-keeper.ts";
import { PartialStream } from "./partial-stream.ts";

export type Outcome =
  { task: "answer"; text: string; finish: "stop" | "length" } | ({ task: "classify" } & Classification);

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
    /** Undefined when the configuration wants none. */
    encoder: Pick<ModelKeeper, "state" | "whenSettled"> | undefined;
  };
  publish: (message: OutgoingMessage) => void;
  /** A classifier from a file has answered: feedback may be about it. */
  onClassified: (question: Question, found: Classification & { classifier: string }) => void;
}

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
    const { streamIntervalMs, publish, models } = this.#options;
    const model = await models.decoder.whenReady(signal);
    const partials = question.stream ? new PartialStream(question, streamIntervalMs, this.#clock, publish) : undefined;
    try {
      const { text, end } = await answer(this.#engine, question, signal, (piece) => partials?.push(piece));
      partials?.end();
      const { finish, usage, prefillMs, generateMs } = end;
      return { outcome: { task: "answer", text, finish }, model, usage, prefillMs, generateMs };
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
    await models.encoder?.whenSettled();
    if (models.encoder?.state.state !== "ready") await models.decoder.whenReady(signal);
    const classifier = this.#classifierOf(question);
    const { system } = route;
    const order = { classifier, text, explain: question.explain, ...(system !== undefined && { system }) };
    const { usage, prefillMs, ...found } = await this.#classifiers.classify(order, signal);
    if (typeof classifier === "string") this.#options.onClassified(question, found);
    const keeper = found.by === "decoder" ? models.decoder : models.encoder;
    const model = (keeper ?? models.decoder).state.name;
    return { outcome: { task: "classify", ...found }, model, usage, prefillMs, generateMs: 0 };
  }

  /** The one from a file, unless the request brings labels of its own. */
  #classifierOf({ route, labels }: Question): string | ClassifierDefinition {
    if (route.classifier !== undefined && labels === route.labels) return route.classifier;
    checkLabels(labels);
    const known = new Set(labels.map(({ name }) => name));
    const examples = labelledTexts(route.examples.filter(({ label }) => known.has(label)));
    return defineClassifier({ name: route.name, labels, examples, threshold: this.#options.threshold });
  }
}
