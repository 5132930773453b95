// The life of the agent: rooms start in order and stop in reverse, each with a deadline. An absent broker is a state, not a
// failure; a model that cannot be loaded neither.
import { toError } from "./core/errors.ts";
import type { HealthSource } from "./core/health.ts";
import type { Clock, LinkStatus, Logger } from "./core/ports.ts";
import { type AppOptions, Rooms } from "./rooms.ts";

export type { AppOptions } from "./rooms.ts";

/** Time a running answer has to end when the agent stops; the whole stop takes at most 5 s. */
const ANSWER_GRACE_MS = 3000;
/** A room that does not stop in this time is left behind, and said so. */
const STOP_TIMEOUT_MS = 4500;

export class App {
  readonly #rooms: Rooms;
  readonly #log: Logger;
  readonly #clock: Clock;
  /** What has started, in order. */
  #started: { name: string; stop: () => Promise<void> | void }[] = [];

  constructor(options: AppOptions) {
    this.#rooms = new Rooms(options);
    this.#log = options.log;
    this.#clock = options.clock;
  }

  get brokerUrl(): string {
    return this.#rooms.brokerUrl;
  }

  get linkStatus(): LinkStatus {
    return this.#rooms.linkStatus;
  }

  /** What `…/state` says. */
  describe(): object {
    return this.#rooms.describe();
  }

  /** One line for `systemctl status`. */
  get summary(): string {
    return this.#rooms.summary;
  }

  /** Called when the line has changed. */
  set onSummary(listener: (summary: string) => void) {
    this.#rooms.onSummary = listener;
  }

  /** The rooms that owe the watchdog progress. */
  get healthSources(): HealthSource[] {
    return this.#rooms.healthSources;
  }

  /** Resolves when the model is loaded, or cannot be. */
  whenModelSettled(): Promise<void> {
    return this.#rooms.models.decoder.whenSettled();
  }

  /** Resolves when everything stands but the model and the connection, which are waited for in the background. */
  async start(signal: AbortSignal): Promise<void> {
    const { journal, engine, governance, models, broker, pipeline, outbox, inbox, state } = this.#rooms;
    const recovered = await journal.start();
    this.#started.push({ name: "journal", stop: () => journal.stop() });
    await engine.start(signal);
    this.#started.push({ name: "engine", stop: () => engine.stop() });
    await governance.start();
    this.#started.push({ name: "governance", stop: () => governance.stop() });
    for (const keeper of models.all) {
      keeper.start();
      this.#started.push({ name: "models", stop: () => keeper.stop() });
    }
    if (broker) {
      await broker.start(signal);
      this.#started.push({ name: "broker", stop: () => broker.stop() });
    }
    const link = this.#rooms.createLink();
    await link.start(signal);
    this.#started.push({ name: "link", stop: () => link.stop() });
    this.#started.push({ name: "outbox", stop: () => outbox.stop() });
    this.#started.push({ name: "pipeline", stop: () => pipeline.stop(ANSWER_GRACE_MS) });
    state.start();
    this.#started.push({ name: "state", stop: () => state.stop() });
    for (const { key, reply } of recovered.unsettled) void outbox.repeat(key, reply);
    for (const { question, ...attempts } of recovered.open) {
      const route = inbox.routeOf(question.topic);
      if (route) await pipeline.resume(question, attempts, route);
      else
        this.#log.warn(
          { topic: question.topic },
          "an accepted question waits in the journal for its route to come back",
        );
    }
  }

  /** Stops what has started, in reverse; a room that fails or hangs does not keep the others. Idempotent. */
  async stop(): Promise<void> {
    for (const { name, stop } of this.#started.splice(0).reverse()) {
      try {
        await this.#inTime(name, stop());
      } catch (error) {
        this.#log.error({ room: name, err: toError(error) }, "a room did not stop cleanly");
      }
    }
  }

  async #inTime(name: string, stopping: Promise<void> | void): Promise<void> {
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.#clock.after(STOP_TIMEOUT_MS, () => reject(new Error(`${name} took over ${STOP_TIMEOUT_MS} ms`)));
    });
    try {
      await Promise.race([stopping, late]);
    } finally {
      cancel();
    }
  }
}
