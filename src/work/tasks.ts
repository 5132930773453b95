// What a model is asked to do with one question, by task. A task knows nothing of queues, journals or topics.
import { PipitError, RequestError } from "../core/errors.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock, Engine, Usage } from "../core/ports.ts";
import type { Classification } from "../core/reply.ts";
import type { Question } from "../core/request.ts";
import { answer } from "./answer-task.ts";
import type { DecoderClassifier } from "./decoder-classifier.ts";
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
  /** Resolves with the name of the loaded model, as soon as there is one; rejects `model_unavailable`. */
  whenModel: (signal: AbortSignal) => Promise<string>;
  publish: (message: OutgoingMessage) => void;
}

export class Tasks {
  readonly #options: TasksOptions;
  readonly #engine: Engine;
  readonly #classifier: DecoderClassifier;
  readonly #clock: Clock;

  constructor(options: TasksOptions, engine: Engine, classifier: DecoderClassifier, clock: Clock) {
    this.#options = options;
    this.#engine = engine;
    this.#classifier = classifier;
    this.#clock = clock;
  }

  async run(question: Question, signal: AbortSignal): Promise<TaskResult> {
    const model = await this.#options.whenModel(signal);
    switch (question.route.task) {
      case "answer":
        return { model, ...(await this.#answer(question, signal)) };
      case "classify":
        return { model, ...(await this.#classify(question, signal)) };
      case "extract":
        throw new RequestError("bad_request", "this version does not extract records yet");
    }
  }

  async #answer(question: Question, signal: AbortSignal): Promise<Omit<TaskResult, "model">> {
    const { streamIntervalMs, publish } = this.#options;
    const partials = question.stream ? new PartialStream(question, streamIntervalMs, this.#clock, publish) : undefined;
    try {
      const { text, end } = await answer(this.#engine, question, signal, (piece) => partials?.push(piece));
      partials?.end();
      const { finish, usage, prefillMs, generateMs } = end;
      return { outcome: { task: "answer", text, finish }, usage, prefillMs, generateMs };
    } catch (error) {
      // When the model's process dies the answer is begun again: this was not the last piece.
      if (error instanceof PipitError && error.code === "engine_died") partials?.drop();
      else partials?.end();
      throw error;
    }
  }

  async #classify(question: Question, signal: AbortSignal): Promise<Omit<TaskResult, "model">> {
    const { route, labels, text } = question;
    const prompt = { labels, examples: route.examples, ...(route.system !== undefined && { system: route.system }) };
    const rule = { threshold: this.#options.threshold };
    const { usage, prefillMs, ...found } = await this.#classifier.classify(prompt, text, rule, signal);
    return { outcome: { task: "classify", ...found }, usage, prefillMs, generateMs: 0 };
  }
}
