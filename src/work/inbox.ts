// Where each incoming message goes: a question to the pipeline, everything else to whom it concerns.
import { shortened } from "../core/digest.ts";
import { RequestError, toError } from "../core/errors.ts";
import type { IncomingMessage, OutgoingMessage } from "../core/message.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Route } from "../core/route.ts";
import { matchFilter, reservedFilters, topicFault, type Topics, withoutShare } from "../core/topics.ts";
import type { Controls } from "./controls.ts";
import type { Pipeline } from "./pipeline.ts";
import { RefusalLines } from "./refusal-lines.ts";

/** Of an id that anybody may send. */
const SHOWN_CHARACTERS = 128;

export interface InboxRooms {
  pipeline: Pipeline;
  controls: Controls;
  /** Learns from one message of the feedback topic. */
  learn: (message: IncomingMessage) => Promise<void>;
  publish: (message: OutgoingMessage) => void;
  clock: Clock;
  log: Logger;
}

export class Inbox {
  readonly #topics: Topics;
  readonly #routes: readonly Route[];
  readonly #pipeline: Pipeline;
  readonly #controls: Controls;
  readonly #learn: InboxRooms["learn"];
  readonly #publish: (message: OutgoingMessage) => void;
  readonly #log: Logger;
  readonly #refusals: RefusalLines;

  constructor(routing: { topics: Topics; routes: readonly Route[] }, rooms: InboxRooms) {
    this.#topics = routing.topics;
    this.#routes = routing.routes;
    this.#pipeline = rooms.pipeline;
    this.#controls = rooms.controls;
    this.#learn = rooms.learn;
    this.#publish = rooms.publish;
    this.#log = rooms.log;
    this.#refusals = new RefusalLines(rooms.log, rooms.clock);
  }

  /** Topic filters to subscribe to. */
  get filters(): string[] {
    const { cancel, control, feedback } = this.#topics;
    return [...new Set([...this.#routes.map(({ filter }) => filter), cancel, feedback, `${control}/+`])];
  }

  /** Resolves when the message may be acknowledged to the broker. */
  async handle(message: IncomingMessage): Promise<void> {
    const { topic } = message;
    if (topic === this.#topics.cancel) return message.retained ? undefined : this.#cancel(message);
    if (topic === this.#topics.feedback) return message.retained ? undefined : this.#feedback(message);
    if (topic.startsWith(`${this.#topics.control}/`)) return this.#control(message);
    const route = this.routeOf(topic);
    if (route) return this.#pipeline.accept(message, route);
    this.#log.debug({ topic }, "no route for this topic");
  }

  routeOf(topic: string): Route | undefined {
    return this.#routes.find(({ filter }) => matchFilter(withoutShare(filter), topic));
  }

  /** Acknowledged before it is learnt: training waits for the encoder, and a lost lesson is no lost question. */
  #feedback(message: IncomingMessage): void {
    this.#learn(message).catch((error: unknown) => this.#notLearnt(error));
  }

  #notLearnt(error: unknown): void {
    if (!(error instanceof RequestError)) return this.#log.warn({ err: toError(error) }, "feedback was not learnt");
    this.#refusals.tell({ code: error.code }, `feedback was not learnt: ${error.message}`);
  }

  #cancel({ payload }: IncomingMessage): void {
    const text = new TextDecoder().decode(payload).trim();
    const id = idOf(text);
    const found = this.#pipeline.cancel(id);
    // An id of nothing in work is no news: anybody may send as many as they like.
    this.#log[found ? "info" : "debug"]({ id: shortened(id, SHOWN_CHARACTERS), found }, "cancel");
  }

  /** Acknowledged before it is done: a verb may take long, and a repeated one must not pile up. */
  #control(message: IncomingMessage): void {
    // Our own responses come back on the same filter.
    if (message.topic === this.#topics.controlResponse || message.retained) return;
    this.#controls
      .handle(message, this.#responseTopic(message))
      .then(this.#publish)
      .catch((error: unknown) => this.#log.warn({ err: toError(error) }, "a control response was not published"));
  }

  /** Where the sender wants the response, unless that would make it a request to an agent, or a lie about one. */
  #responseTopic({ responseTopic: asked }: IncomingMessage): string {
    const { controlResponse } = this.#topics;
    if (asked === undefined || topicFault(asked)) return controlResponse;
    const taken = [...this.filters.map(withoutShare), ...reservedFilters(this.#topics.base)];
    return taken.some((filter) => matchFilter(filter, asked)) ? controlResponse : asked;
  }
}

/** `{"id": "…"}` or the bare id. */
function idOf(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "id" in value) return String(value.id);
  } catch {
    // A bare id is not JSON.
  }
  return text;
}
