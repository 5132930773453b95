// What sorts texts: the classifiers of the folder, their trained heads, the decoder they fall back on, and what people say
// of their answers.
import { join } from "node:path";
import { readClassifierFolder } from "./config/classifier-files.ts";
import type { Config } from "./config/schema.ts";
import { PipitError } from "./core/errors.ts";
import type { IncomingMessage } from "./core/message.ts";
import type { Clock, Engine, Logger } from "./core/ports.ts";
import type { ModelKeepers } from "./model-keepers.ts";
import { FileHeadStore } from "./models/head-store.ts";
import { Classifiers } from "./work/classifiers.ts";
import { DecoderClassifier } from "./work/decoder-classifier.ts";
import { Feedback, type FeedbackResult } from "./work/feedback.ts";
import type { ModelKeeper } from "./work/model-keeper.ts";

/** Learning embeds one text and trains a head: seconds on the smallest board. */
const LEARN_TIMEOUT_MS = 120_000;

export interface ClassificationRooms {
  config: Config;
  engine: Engine;
  models: ModelKeepers;
  clock: Clock;
  log: Logger;
}

export class Classification {
  readonly classifiers: Classifiers;
  readonly feedback: Feedback;
  readonly #clock: Clock;

  /** Throws a `config` PipitError that names every fault of the classifier files. */
  constructor({ config, engine, models, clock, log }: ClassificationRooms) {
    const loaded = (keeper: ModelKeeper | undefined) =>
      keeper?.state.state === "ready" ? keeper.state.name : undefined;
    const roomLog = log.child({ room: "classifiers" });
    this.#clock = clock;
    this.classifiers = new Classifiers(readClassifierFolder(join(config.state.dir, "classifiers")), {
      engine,
      clock,
      log: roomLog,
      store: new FileHeadStore(join(config.state.dir, "heads"), roomLog),
      encoder: () => loaded(models.encoder),
      decoder: new DecoderClassifier(engine),
      decoderLoaded: () => loaded(models.decoder) !== undefined,
    });
    const mostPerHour = config.classify.feedbackPerHour;
    this.feedback = new Feedback(this.classifiers, { mostPerHour }, clock, roomLog);
  }

  async learn(message: IncomingMessage): Promise<FeedbackResult> {
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
