// Every room made from the configuration and joined to the others by callbacks; app.ts starts and stops them. The only file
// that sees every room.
import { randomUUID } from "node:crypto";
import type { LoadedConfig } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { toError } from "./core/errors.ts";
import type { HealthSource } from "./core/health.ts";
import type { OutgoingMessage } from "./core/message.ts";
import type { Clock, Engine, Journal, Link, LinkStatus, Logger, MessageHandler } from "./core/ports.ts";
import { type Topics, topicsOf, withoutShare } from "./core/topics.ts";
import { Sensors } from "./device/sensors.ts";
import { ChildEngine, type EngineEvents } from "./engine/child-engine.ts";
import { FileJournal } from "./journal/file-journal.ts";
import { MemoryJournal } from "./journal/memory-journal.ts";
import { brokerOptionsOf, linkOptionsOf } from "./link-options.ts";
import { createModelKeepers, type ModelKeepers } from "./model-keepers.ts";
import { EmbeddedBroker } from "./mqtt/embedded-broker.ts";
import { MqttLink } from "./mqtt/link.ts";
import { Classifiers } from "./work/classifiers.ts";
import { Controls } from "./work/controls.ts";
import { DecoderClassifier } from "./work/decoder-classifier.ts";
import { Governor } from "./work/governor.ts";
import { Inbox } from "./work/inbox.ts";
import type { ModelKeeper } from "./work/model-keeper.ts";
import { Outbox } from "./work/outbox.ts";
import { Pipeline } from "./work/pipeline.ts";
import { routesOf } from "./work/routes.ts";
import { stateJson } from "./work/state.ts";
import { StatePublisher } from "./work/state-publisher.ts";
import { Tasks } from "./work/tasks.ts";

export interface AppOptions {
  config: Config;
  /** What a `*_file` setting holds, by the name without `_file`. */
  secret: LoadedConfig["secret"];
  version: string;
  log: Logger;
  clock: Clock;
  /** Another engine in the place of the model's process, for tests of delivery. */
  createEngine?: (events: EngineEvents) => Engine;
  /** Another link in the place of MQTT: `--local` asks without a broker. */
  createLink?: (onMessage: MessageHandler) => Link;
}

export class Rooms {
  readonly topics: Topics;
  readonly engine: Engine;
  readonly governor: Governor;
  readonly models: ModelKeepers;
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly pipeline: Pipeline;
  readonly inbox: Inbox;
  readonly state: StatePublisher;
  readonly broker: EmbeddedBroker | undefined;
  /** Called when `summary` may have changed. */
  onSummary: (summary: string) => void = () => {};
  #childEngine: ChildEngine | undefined;
  readonly #options: AppOptions;
  readonly #startedMs: number;
  readonly #sensors: Sensors;
  #link: Link | undefined;

  constructor(options: AppOptions) {
    const { config, log, clock } = options;
    this.#options = options;
    this.#startedMs = clock.nowMs();
    this.topics = topicsOf(config.device.baseTopic, config.device.id);
    this.#sensors = new Sensors({ sensorsRoot: config.governor.sensorsRoot, clock });
    this.engine = this.#createEngine();
    this.governor = this.#createGovernor();
    this.models = this.#createModelKeepers();
    this.journal = this.#createJournal();
    this.outbox = new Outbox(this.journal, { publish: (message) => this.#publish(message) }, clock, log);
    const routes = routesOf(this.topics, config);
    const ownFilters = [
      ...routes.map(({ filter }) => withoutShare(filter)),
      this.topics.cancel,
      `${this.topics.control}/#`,
    ];
    this.pipeline = new Pipeline(
      {
        limits: { maxPayloadBytes: config.queue.maxPayloadBytes, ownFilters },
        maxQuestions: config.queue.maxQuestions,
        concurrency: () => this.governor.current.sequences,
        governor: this.governor,
        makeId: () => randomUUID(),
      },
      { tasks: this.#createTasks(), journal: this.journal, outbox: this.outbox, clock, log },
    );
    const publish = (message: OutgoingMessage) => this.#publishLater(message);
    const controls = this.#createControls();
    this.inbox = new Inbox({ topics: this.topics, routes }, { pipeline: this.pipeline, controls, publish, log });
    this.state = this.#createStatePublisher();
    this.broker = config.broker.embedded ? this.#createBroker() : undefined;
  }

  /** Where to reach the agent: the embedded broker's own address, or the configured one. */
  get brokerUrl(): string {
    return this.broker?.url ?? this.#options.config.broker.url;
  }

  get linkStatus(): LinkStatus {
    return this.#link?.status ?? { state: "offline", connects: 0 };
  }

  /** One line in words: the model, the plan, the link. */
  get summary(): string {
    const { state } = this.models.decoder;
    const model = {
      loading: () => `loading ${state.name}`,
      ready: () => `${state.name} ready, ${this.governor.current.threads.decode} threads`,
      failed: () => `no model: ${state.state === "failed" ? state.error.message : ""}`,
    }[state.state]();
    const { state: link, reason } = this.linkStatus;
    const bus = link === "online" ? "on the bus" : `waiting for the broker${reason ? ` (${reason})` : ""}`;
    return `${model}; ${bus}`;
  }

  /** Rooms that owe progress while they have work. */
  get healthSources(): HealthSource[] {
    return this.#childEngine ? [this.#childEngine] : [];
  }

  /** What `…/state` says. */
  describe(): object {
    return stateJson(
      {
        version: this.#options.version,
        startedMs: this.#startedMs,
        governor: this.governor,
        models: this.models.decoder,
        pipeline: this.pipeline,
        deaths: () => this.engine.status.deaths,
        link: () => this.linkStatus,
      },
      this.#options.clock.nowMs(),
    );
  }

  #createJournal(): Journal {
    const { config, log, clock } = this.#options;
    const { dir: directory, durability, maxBytes } = config.journal;
    if (durability === "memory") return new MemoryJournal({ clock });
    return new FileJournal({ directory, durability, maxBytes, clock, logger: log.child({ room: "journal" }) });
  }

  #createTasks(): Tasks {
    const { config, log, clock } = this.#options;
    const ready = (keeper: ModelKeeper | undefined) =>
      keeper?.state.state === "ready" ? keeper.state.name : undefined;
    const classifiers = new Classifiers([], {
      engine: this.engine,
      clock,
      log: log.child({ room: "classifiers" }),
      encoder: () => ready(this.models.encoder),
      decoder: new DecoderClassifier(this.engine),
      decoderLoaded: () => ready(this.models.decoder) !== undefined,
    });
    const { streamIntervalMs } = config.answer;
    const { threshold } = config.classify;
    const publish = (message: OutgoingMessage) => this.#publishLater(message);
    return new Tasks({ streamIntervalMs, threshold, models: this.models, publish }, this.engine, classifiers, clock);
  }

  #createEngine(): Engine {
    const { config, log, clock, createEngine } = this.#options;
    const events: EngineEvents = {
      onStep: (step) => this.governor.onStep(step),
      onDeath: (reason) => this.#tell("engine_died", { reason }),
    };
    if (createEngine) return createEngine(events);
    this.#childEngine = new ChildEngine({ nice: config.governor.nice }, events, log.child({ room: "engine" }), clock);
    return this.#childEngine;
  }

  #createGovernor(): Governor {
    const { config, log, clock } = this.#options;
    return new Governor({
      clock,
      log: log.child({ room: "governor" }),
      sensors: this.#sensors,
      engine: this.engine,
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
          this.#changed();
        },
      },
    });
  }

  #createModelKeepers(): ModelKeepers {
    const { config, log, clock } = this.#options;
    return createModelKeepers({
      config,
      engine: this.engine,
      readings: () => this.governor.readings ?? this.#sensors.read(),
      onDecoderPlan: (spec) => this.governor.setMemoryPlan({ ...spec, modelRung: 0 }),
      onChange: (state) => {
        if (state.state === "failed") this.#tell("model_failed", { model: state.name, reason: state.error.message });
        if (state.state === "ready") this.#tell("model_ready", { model: state.name });
        this.#changed();
      },
      clock,
      log: log.child({ room: "models" }),
    });
  }

  #createControls(): Controls {
    return new Controls(
      {
        plan: () => this.describe(),
        pause: () => this.pipeline.pause(),
        resume: () => this.pipeline.resumeWork(),
      },
      this.#options.config.control.allow,
    );
  }

  #createStatePublisher(): StatePublisher {
    const { config, clock } = this.#options;
    const intervalMs = config.state.intervalS * 1000;
    const publish = (message: OutgoingMessage) => this.#publish(message);
    return new StatePublisher(
      { topic: this.topics.state, intervalMs, describe: () => this.describe(), publish },
      clock,
    );
  }

  #createBroker(): EmbeddedBroker {
    return new EmbeddedBroker(brokerOptionsOf(this.#options.config), this.#options.log.child({ room: "broker" }));
  }

  /** Made once the broker of our own has a port. */
  createLink(): Link {
    const { createLink } = this.#options;
    this.#link = createLink ? createLink((message) => this.inbox.handle(message)) : this.#createMqttLink();
    return this.#link;
  }

  #createMqttLink(): Link {
    const { config, secret, log, clock } = this.#options;
    return new MqttLink(
      linkOptionsOf(config, secret, { url: this.brokerUrl, filters: this.inbox.filters }),
      {
        onMessage: (message) => this.inbox.handle(message),
        onStatus: () => this.#changed(),
        onOnline: async () => {
          this.#changed();
          await this.outbox.resend();
        },
      },
      log.child({ room: "mqtt" }),
      clock,
    );
  }

  #changed(): void {
    this.state.changed();
    this.onSummary(this.summary);
  }

  /** A line on `…/event`; lost without a link, which is what events are. */
  #tell(event: string, fields: object): void {
    const body = { event, at: new Date(this.#options.clock.wallMs()).toISOString(), ...fields };
    const payload = new TextEncoder().encode(JSON.stringify(body));
    this.#publishLater({ topic: this.topics.event, payload, contentType: "application/json", text: true });
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
