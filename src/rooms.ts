// Every room made from the configuration and joined to the others by callbacks; app.ts starts and stops them. The only file
// that sees every room.
import { randomUUID } from "node:crypto";
import { cardToWire } from "./core/calibration.ts";
import type { LoadedConfig } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { Classification, classifiersOf } from "./classification.ts";
import { toError } from "./core/errors.ts";
import { type HealthSource, owesProgress } from "./core/health.ts";
import type { OutgoingMessage } from "./core/message.ts";
import type { Clock, Engine, Journal, Link, LinkStatus, Logger, MessageHandler } from "./core/ports.ts";
import { reservedFilters, type Topics, topicsOf, withoutShare } from "./core/topics.ts";
import { ChildEngine, type EngineEvents } from "./engine/child-engine.ts";
import { FileJournal } from "./journal/file-journal.ts";
import { MemoryJournal } from "./journal/memory-journal.ts";
import { Governance } from "./governance.ts";
import { brokerOptionsOf, linkOptionsOf } from "./link-options.ts";
import { ModelKeepers } from "./model-keepers.ts";
import { EmbeddedBroker } from "./mqtt/embedded-broker.ts";
import { MqttLink } from "./mqtt/link.ts";
import { Announcements } from "./work/announcements.ts";
import { Controls } from "./work/controls.ts";
import { Inbox } from "./work/inbox.ts";
import { Outbox } from "./work/outbox.ts";
import { Pipeline } from "./work/pipeline.ts";
import { PipelineHealth } from "./work/pipeline-health.ts";
import { routesOf } from "./work/routes.ts";
import { stateJson, summaryLine } from "./work/state.ts";
import { StatePublisher } from "./work/state-publisher.ts";
import { Sessions } from "./work/sessions.ts";
import { Tasks } from "./work/tasks.ts";

/** How the engine words a death by SIGKILL. */
const KILLED = "killed by SIGKILL";

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
  readonly governance: Governance;
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
  readonly #announcements: Announcements;
  readonly #startedMs: number;
  readonly #classification: Classification;
  readonly #tasks: Tasks;
  #link: Link | undefined;

  constructor(options: AppOptions) {
    const { config, log, clock } = options;
    this.#options = options;
    this.#startedMs = clock.nowMs();
    this.topics = topicsOf(config.device.baseTopic, config.device.id);
    const publishNow = (message: OutgoingMessage) => this.#publish(message);
    this.#announcements = new Announcements({ eventTopic: this.topics.event, publish: publishNow, clock, log });
    this.engine = this.#createEngine();
    this.governance = this.#createGovernance();
    const routes = routesOf(this.topics, config);
    const definitions = classifiersOf(config, routes);
    this.models = this.#createModelKeepers(definitions.flatMap(({ model }) => model ?? []));
    this.journal = this.#createJournal();
    this.outbox = new Outbox(this.journal, { publish: publishNow }, clock, log);
    const ownFilters = [
      ...routes.map(({ filter }) => withoutShare(filter)),
      this.topics.cancel,
      `${this.topics.control}/#`,
    ];
    const { engine, models } = this;
    const tell = (event: string, fields: object) => this.#announcements.event(event, fields);
    this.#classification = new Classification({ config, definitions, engine, models, tell, clock, log });
    this.#tasks = this.#createTasks();
    this.pipeline = new Pipeline(
      {
        limits: { ownFilters, reservedFilters: reservedFilters(config.device.baseTopic) },
        bounds: config.queue,
        concurrency: () => this.governance.governor.current.sequences,
        governor: this.governance.ofQuestions(),
        makeId: () => randomUUID(),
      },
      { tasks: this.#tasks, journal: this.journal, outbox: this.outbox, clock, log },
    );
    const { publish } = this.#announcements;
    const controls = this.#createControls();
    this.inbox = new Inbox(
      { topics: this.topics, routes },
      {
        pipeline: this.pipeline,
        controls,
        learn: (message) => this.#classification.learn(message),
        publish,
        clock,
        log,
      },
    );
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

  get summary(): string {
    const writable = !(this.journal instanceof FileJournal) || this.journal.stats.writable;
    const { threads } = this.governance.governor.current;
    return summaryLine({ model: this.models.decoder.state, threads: threads.decode, link: this.linkStatus, writable });
  }

  /** Rooms that owe progress while they have work. */
  get healthSources(): HealthSource[] {
    const pipeline = new PipelineHealth(this.pipeline, this.outbox, this.#options.clock);
    const rooms: (object | undefined)[] = [this.#childEngine, this.journal, this.#link, pipeline];
    return rooms.filter(owesProgress);
  }

  /** What `…/state` says. */
  describe(): object {
    return stateJson(
      {
        version: this.#options.version,
        startedMs: this.#startedMs,
        governor: this.governance.governor,
        models: this.models,
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
    const logger = log.child({ room: "journal" });
    return new FileJournal({ directory, durability, maxBytes, clock, logger, onWritable: () => this.#changed() });
  }

  #createTasks(): Tasks {
    const { config, clock } = this.#options;
    const { classifiers, feedback } = this.#classification;
    return new Tasks(
      {
        streamIntervalMs: config.answer.streamIntervalMs,
        threshold: config.classify.threshold,
        models: this.models,
        sessions: new Sessions({ ...config.sessions, idleMs: config.sessions.idleS * 1000 }, clock),
        publish: this.#announcements.publish,
        onClassified: ({ id, text }, { classifier, label, labels }) =>
          feedback.remember(id, { classifier, text, predicted: labels?.join(", ") ?? label }),
      },
      this.engine,
      classifiers,
      clock,
    );
  }

  #createEngine(): Engine {
    const { config, log, clock, createEngine } = this.#options;
    const events: EngineEvents = {
      onStep: (step) => this.governance.onStep(step),
      onDeath: (reason) => {
        // Nobody here kills it: this was the kernel, or somebody at the board.
        this.models.noteDeath(reason === KILLED);
        this.#announcements.event("engine_died", { reason });
        this.#changed();
      },
    };
    if (createEngine) return createEngine(events);
    this.#childEngine = new ChildEngine({ nice: config.governor.nice }, events, log.child({ room: "engine" }), clock);
    return this.#childEngine;
  }

  #createGovernance(): Governance {
    const { config, log, clock } = this.#options;
    return new Governance({
      config,
      engine: this.engine,
      isIdle: () => this.pipeline.isIdle,
      onPlan: (plan, cause) => {
        const { threads, reason } = plan;
        this.#announcements.event("plan", { threads: threads.decode, threads_prefill: threads.prefill, cause, reason });
        this.#changed();
      },
      onCard: (card) => this.#announcements.json(this.topics.card, cardToWire(card), true),
      onWarning: (warning) => this.#announcements.event("warning", warning),
      clock,
      log,
    });
  }

  #createModelKeepers(encoders: readonly string[]): ModelKeepers {
    const { config, log, clock } = this.#options;
    return new ModelKeepers({
      config,
      encoders,
      engine: this.engine,
      readings: (fresh) => this.governance.readings(fresh),
      tokens: () => this.governance.tokens,
      onDecoderPlan: (plan) => this.governance.plan(plan),
      isIdle: () => this.pipeline.isIdle,
      stopQuestions: () => this.pipeline.stopQuestions(),
      interruptCalibration: () => this.governance.calibrator.interrupt(),
      onChange: (state) => {
        const isDecoder = state === this.models.decoder.state;
        this.#announcements.model(state, isDecoder ? this.governance.governor.current.modelReason : undefined);
        if (state.state === "ready") this.#tasks.modelChanged();
        if (isDecoder) this.governance.modelChanged(state.state === "ready");
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
        calibrate: () => this.governance.calibrator.makeDue(),
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

  async #publish(message: OutgoingMessage): Promise<void> {
    if (!this.#link) throw toError("the link has not started");
    await this.#link.publish(message);
  }
}
