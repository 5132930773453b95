// What sorts texts: the classifiers of the folder and of the configuration, their trained heads, the decoder they fall back
// on, and what people say of their answers.
import { join } from "node:path";
import { definitionFrom } from "./config/classifier-fields.ts";
import { readClassifierFolder } from "./config/classifier-files.ts";
import type { Config } from "./config/schema.ts";
import { type ClassifierDefinition, defineClassifier, labelledTexts } from "./core/classifier.ts";
import { PipitError, toError } from "./core/errors.ts";
import type { IncomingMessage } from "./core/message.ts";
import type { Clock, Engine, Logger } from "./core/ports.ts";
import type { Route } from "./core/route.ts";
import type { ModelKeepers } from "./model-keepers.ts";
import { FileHeadStore } from "./models/head-store.ts";
import { Classifiers } from "./work/classifiers.ts";
import { DecoderClassifier } from "./work/decoder-classifier.ts";
import { Feedback, type FeedbackResult } from "./work/feedback.ts";
import type { ModelKeeper } from "./work/model-keeper.ts";

/** Learning embeds one text and trains a head: seconds on the smallest board. */
const LEARN_TIMEOUT_MS = 120_000;

/**
 * Every classifier with a name: of the configuration, of the folder, and of routes that have labels of their own. Throws a
 * `config` error.
 */
export function classifiersOf(config: Config, routes: readonly Route[]): ClassifierDefinition[] {
  const bad = (what: string) => new PipitError("config", "bad_classifier", what);
  const configured = config.classify.classifiers.map((settings) => {
    const { outOfScope, abstainLabel, decoderMargin, ...rest } = settings;
    const fields = { ...rest, out_of_scope: outOfScope, abstain_label: abstainLabel, decoder_margin: decoderMargin };
    const faults: string[] = [];
    const definition = definitionFrom(fields, ".", faults);
    if (definition === undefined) throw bad(faults.join("\n"));
    return definition;
  });
  const files = readClassifierFolder(join(config.state.dir, "classifiers"));
  const twin = files.find(({ name }) => configured.some((other) => other.name === name));
  if (twin)
    throw bad(`classifier ${twin.name} is in classify.classifiers and in the folder ${config.state.dir}/classifiers`);
  const named = [...configured, ...files];
  const own = routes.filter(({ task, labels, classifier }) => task === "classify" && labels.length > 0 && !classifier);
  for (const { name } of own) {
    if (named.some((other) => other.name === name))
      throw bad(`route ${name} has labels, and so has classifier ${name}`);
  }
  const known = named.map(({ name }) => name).join(", ") || "none";
  for (const { name, classifier } of routes) {
    if (classifier === undefined || named.some((other) => other.name === classifier)) continue;
    throw bad(`route ${name} names the classifier ${classifier}, there is ${known}`);
  }
  const { threshold } = config.classify;
  return [
    ...named,
    ...own.map(({ name, labels, examples }) =>
      defineClassifier({ name, labels, examples: labelledTexts(examples), threshold }),
    ),
  ];
}

export interface ClassificationRooms {
  config: Config;
  definitions: readonly ClassifierDefinition[];
  engine: Engine;
  models: ModelKeepers;
  /** A line on `…/event`. */
  tell: (event: string, fields: object) => void;
  clock: Clock;
  log: Logger;
}

export class Classification {
  readonly classifiers: Classifiers;
  readonly feedback: Feedback;
  readonly #tell: ClassificationRooms["tell"];
  readonly #clock: Clock;

  constructor({ config, definitions, engine, models, tell, clock, log }: ClassificationRooms) {
    const loaded = (keeper: ModelKeeper | undefined) =>
      keeper?.state.state === "ready" ? keeper.state.file : undefined;
    const roomLog = log.child({ room: "classifiers" });
    this.#tell = tell;
    this.#clock = clock;
    this.classifiers = new Classifiers(definitions, {
      engine,
      clock,
      log: roomLog,
      store: new FileHeadStore(join(config.state.dir, "heads"), roomLog),
      encoder: (model) => loaded(models.encoder(model)),
      decoder: new DecoderClassifier(engine),
      decoderModel: () => loaded(models.decoder),
    });
    const mostPerHour = config.classify.feedbackPerHour;
    this.feedback = new Feedback(this.classifiers, { mostPerHour }, clock, roomLog);
  }

  /** What was learnt, or why not, goes to `…/event`: feedback has no reply of its own. */
  async learn(message: IncomingMessage): Promise<void> {
    try {
      const { rolling, ...learning } = await this.#learnInTime(message);
      const { judged, accuracy } = rolling;
      this.#tell("feedback", { ...learning, rolling_accuracy: accuracy, judged });
    } catch (error) {
      this.#tell("feedback_refused", { reason: toError(error).message });
      throw error;
    }
  }

  async #learnInTime(message: IncomingMessage): Promise<FeedbackResult> {
    const timeout = new AbortController();
    const late = new PipitError("transient", "too_slow", `learning took over ${LEARN_TIMEOUT_MS} ms`);
    const cancel = this.#clock.after(LEARN_TIMEOUT_MS, () => timeout.abort(late));
    try {
      return await this.feedback.handle(message, timeout.signal);
    } finally {
      cancel();
    }
  }
}
