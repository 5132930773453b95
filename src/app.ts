// The composition root: configuration in, { start, stop } out. The only file that sees every room. Rooms start in the order
// of a list and stop in reverse, each with a deadline; an absent broker is a state, not a failure.
import { randomUUID } from "node:crypto";
import type { LoadedConfig } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { toError } from "./core/errors.ts";
import type { OutgoingMessage } from "./core/message.ts";
import type { Clock, Journal, LinkStatus, Logger } from "./core/ports.ts";
import { withoutShare, topicsOf } from "./core/topics.ts";
import { Sensors } from "./device/sensors.ts";
import { ChildEngine } from "./engine/child-engine.ts";
import { MemoryJournal } from "./journal/memory-journal.ts";
import { ModelLibrary } from "./models/library.ts";
import { EmbeddedBroker } from "./mqtt/embedded-broker.ts";
import { MqttLink } from "./mqtt/link.ts";
import { Controls } from "./work/controls.ts";
import { DecoderClassifier } from "./work/decoder-classifier.ts";
import { Governor } from "./work/governor.ts";
import { Inbox } from "./work/inbox.ts";
import { ModelKeeper } from "./work/model-keeper.ts";
import { specifyModel } from "./work/model-specifier.ts";
import { Outbox } from "./work/outbox.ts";
import { Pipeline } from "./work/pipeline.ts";
import { routesOf } from "./work/routes.ts";
import { stateJson } from "./work/state.ts";
import { StatePublisher } from "./work/state-publisher.ts";
import { Tasks } from "./work/tasks.ts";

/** Least time a running answer has to end when the agent stops; the whole stop takes at most 5 s. */
const ANSWER_GRACE_MS = 3000;

export interface AppOptions {
  config: Config;
  /** What a `*_file` setting holds, by the name without `_file`. */
  secret: LoadedConfig["secret"];
  version: string;
  log: Logger;
  clock: Clock;
}

export class App {
  readonly #options: AppOptions;
  readonly #startedMs: number;
  readonly #sensors: Sensors;
  readonly #engine: ChildEngine;
  readonly #governor: Governor;
  readonly #models: ModelKeeper;
  readonly #journal: Journal;
  readonly #outbox: Outbox;
  readonly #pipeline: Pipeline;
  readonly #inbox: Inbox;
  readonly #state: StatePublisher;
  readonly #broker: EmbeddedBroker | undefined;
  readonly #topics;
  #link: MqttLink | undefined;
  /** What has started, in order; stopped in reverse. */
  #started: { name: string; stop: () => Promise<void> }[] = [];

  constructor(options: AppOptions) {
    const { config, log, clock } = options;
    this.#options = options;
    this.#startedMs = clock.nowMs();
    this.#topics = topicsOf(config.device.baseTopic, config.device.id);
    this.#sensors = new Sensors({ sensorsRoot: config.governor.sensorsRoot, clock });
    this.#engine = this.#createEngine();
    this.#governor = this.#createGovernor();
    this.#models = this.#createModelKeeper();
    this.#journal = new MemoryJournal({ clock });
    this.#outbox = new Outbox(this.#journal, { publish: (message) => this.#publish(message) }, clock, log);
    const classifier = new DecoderClassifier(this.#engine);
    const routes = routesOf(this.#topics, config);
    const ownFilters = [
      ...routes.map(({ filter }) => withoutShare(filter)),
      this.#topics.cancel,
      `${this.#topics.control}/#`,
    ];
    const tasks = new Tasks(
      {
        streamIntervalMs: config.answer.streamIntervalMs,
        threshold: config.classify.threshold,
        whenModel: (signal) => this.#models.whenReady(signal),
        publish: (message) => this.#publishLater(message),
      },
      this.#engine,
      classifier,
      clock,
    );
    this.#pipeline = new Pipeline(
      {
        limits: { maxPayloadBytes: config.queue.maxPayloadBytes, ownFilters },
        maxQuestions: config.queue.maxQuestions,
        concurrency: () => this.#governor.current.sequences,
        governor: this.#governor,
        makeId: () => randomUUID(),
      },
      { tasks, journal: this.#journal, outbox: this.#outbox, clock, log },
    );
    this.#inbox = new Inbox(
      { topics: this.#topics, routes },
      {
        pipeline: this.#pipeline,
        controls: this.#createControls(),
        publish: (message) => this.#publishLater(message),
        log,
      },
    );
    this.#state = this.#createStatePublisher();
    this.#broker = config.broker.embedded ? this.#createBroker() : undefined;
  }

  /** Where to reach the agent: the embedded broker's own address, or the configured one. */
  get brokerUrl(): string {
    return this.#broker?.url ?? this.#options.config.broker.url;
  }

  get linkStatus(): LinkStatus {
    return this.#link?.status ?? { state: "offline", connects: 0 };
  }

  get state(): object {
    return stateJson(
      {
        version: this.#options.version,
        startedMs: this.#startedMs,
        governor: this.#governor,
        models: this.#models,
        pipeline: this.#pipeline,
        deaths: () => this.#engine.status.deaths,
        link: () => this.linkStatus,
      },
      this.#options.clock.nowMs(),
    );
  }

  /** Resolves when everything stands but the model and the connection, which are waited for in the background. */
  async start(signal: AbortSignal): Promise<void> {
    const recovered = await this.#journal.start();
    this.#willStop("journal", () => this.#journal.stop());
    await this.#engine.start();
    this.#willStop("engine", () => this.#engine.stop());
    await this.#governor.start();
    this.#willStop("governor", () => this.#governor.stop());
    this.#models.start();
    this.#willStop("models", () => this.#models.stop());
    if (this.#broker) {
      await this.#broker.start(signal);
      this.#willStop("broker", () => this.#broker?.stop() ?? Promise.resolve());
    }
    this.#link = this.#createLink();
    await this.#link.start(signal);
    this.#willStop("link", () => this.#link?.stop() ?? Promise.resolve());
    this.#willStop("pipeline", () => this.#stopPipeline());
    this.#state.start();
    for (const { key, reply } of recovered.unsettled) void this.#outbox.repeat(key, reply);
    for (const { question, starts } of recovered.open) {
      const route = this.#inbox.routeOf(question.topic);
      if (route) await this.#pipeline.resume(question, starts, route);
    }
  }

  /** In reverse order of the start; a room that fails to stop does not keep the others. */
  async stop(): Promise<void> {
    for (const { name, stop } of this.#started.splice(0).reverse()) {
      try {
        await stop();
      } catch (error) {
        this.#options.log.error({ room: name, err: toError(error) }, "a room did not stop cleanly");
      }
    }
  }

  #willStop(name: string, stop: () => Promise<void>): void {
    this.#started.push({ name, stop });
  }

  async #stopPipeline(): Promise<void> {
    this.#state.stop();
    await this.#pipeline.stop(ANSWER_GRACE_MS);
    this.#outbox.stop();
  }

  #createEngine(): ChildEngine {
    const { log, clock } = this.#options;
    const events = {
      onStep: (step: Parameters<Governor["onStep"]>[0]) => this.#governor.onStep(step),
      onDeath: (reason: string) => this.#tell("engine_died", { reason }),
    };
    return new ChildEngine({ nice: this.#options.config.governor.nice }, events, log.child({ room: "engine" }), clock);
  }

  #createGovernor(): Governor {
    const { config, log, clock } = this.#options;
    return new Governor({
      clock,
      log: log.child({ room: "governor" }),
      sensors: this.#sensors,
      engine: this.#engine,
      plan: { contextTokens: 0, batchTokens: 0, sequences: 1, modelRung: 0 },
      courtesy: config.governor.courtesy,
      events: {
        onPlan: (plan, { cause }) => {
          this.#tell("plan", {
            threads: plan.threads.decode,
            threads_prefill: plan.threads.prefill,
            cause,
            reason: plan.reason,
          });
          this.#state.changed();
        },
      },
    });
  }

  #createModelKeeper(): ModelKeeper {
    const { config, log, clock } = this.#options;
    const library = new ModelLibrary({
      directory: config.model.dir,
      catalogFile: config.model.catalogueFile,
      env: process.env,
    });
    const { contextTokens, batchTokens, sequences } = config.model;
    return new ModelKeeper(
      {
        name: config.model.name,
        specify: async (name, onProgress, signal) => {
          const file = await library.obtain(name, {
            onProgress,
            signal,
            onNote: (line) => log.info({ model: name }, line),
          });
          const readings = this.#governor.readings ?? this.#sensors.read();
          const ownBytes = readings.child?.rssBytes ?? 0;
          const { spec, reason } = specifyModel({
            file,
            configured: { contextTokens, batchTokens, sequences },
            readings,
            ownBytes,
          });
          log.info({ model: name, context_tokens: spec.contextTokens, sequences: spec.sequences }, reason);
          this.#governor.setMemoryPlan({ ...spec, modelRung: 0 });
          return spec;
        },
        onChange: (state) => {
          if (state.state === "failed") this.#tell("model_failed", { model: state.name, reason: state.error.message });
          if (state.state === "ready") this.#tell("model_ready", { model: state.name });
          this.#state.changed();
        },
      },
      this.#engine,
      clock,
      log.child({ room: "models" }),
    );
  }

  #createControls(): Controls {
    return new Controls(
      {
        plan: () => this.state,
        pause: () => this.#pipeline.pause(),
        resume: () => this.#pipeline.resumeWork(),
      },
      this.#options.config.control.allow,
    );
  }

  #createStatePublisher(): StatePublisher {
    const { config, clock } = this.#options;
    const intervalMs = config.state.intervalS * 1000;
    const publish = (message: OutgoingMessage) => this.#publish(message);
    return new StatePublisher({ topic: this.#topics.state, intervalMs, describe: () => this.state, publish }, clock);
  }

  #createBroker(): EmbeddedBroker {
    const { embeddedHost: host, embeddedPort: port } = this.#options.config.broker;
    return new EmbeddedBroker({ host, port }, this.#options.log.child({ room: "broker" }));
  }

  #createLink(): MqttLink {
    const { config, secret, log, clock } = this.#options;
    const { broker } = config;
    return new MqttLink(
      {
        url: this.brokerUrl,
        clientId: broker.clientId,
        username: broker.username,
        password: secret("broker.password"),
        tls: { caFile: broker.caFile, certFile: broker.certFile, keyFile: broker.keyFile, insecure: broker.insecure },
        protocol: broker.protocolVersion === "auto" ? "auto" : broker.protocolVersion === 5 ? "5" : "3.1.1",
        filters: this.#inbox.filters,
        availabilityTopic: this.#topics.availability,
        keepaliveSeconds: broker.keepaliveS,
        sessionExpirySeconds: broker.sessionExpiryS,
        receiveMaximum: broker.receiveMaximum,
        connectTimeoutMs: broker.connectTimeoutMs,
        maxPacketBytes: config.queue.maxPayloadBytes + 4096,
      },
      {
        onMessage: (message) => this.#inbox.handle(message),
        onOnline: async () => {
          this.#state.changed();
          await this.#outbox.resend();
        },
      },
      log.child({ room: "mqtt" }),
      clock,
    );
  }

  /** A line on `…/event`; lost without a link, which is what events are. */
  #tell(event: string, fields: object): void {
    const body = { event, at: new Date(this.#options.clock.wallMs()).toISOString(), ...fields };
    const payload = new TextEncoder().encode(JSON.stringify(body));
    this.#publishLater({ topic: this.#topics.event, payload, contentType: "application/json", text: true });
  }

  async #publish(message: OutgoingMessage): Promise<void> {
    if (!this.#link) throw toError("the link has not started");
    await this.#link.publish(message);
  }

  /** For what is worth sending but not worth keeping. */
  #publishLater(message: OutgoingMessage): void {
    this.#publish(message).catch((error: unknown) => {
      this.#options.log.debug({ topic: message.topic, reason: toError(error).message }, "not published");
    });
  }
}
