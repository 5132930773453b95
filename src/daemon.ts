// The daemon around the app: tells the service manager how it stands, feeds its watchdog, and on a reload replaces the app by
// one with the new configuration, or keeps the old one when the new configuration is wrong.
import { App, type AppOptions } from "./app.ts";
import { toError } from "./core/errors.ts";
import type { Clock, Logger } from "./core/ports.ts";
import { Notifier } from "./systemd/notify.ts";
import { Watchdog } from "./systemd/watchdog.ts";

/** While a model loads from a slow card the service manager is asked for this much more time, again and again. */
const EXTENSION_MS = 60_000;
const EXTEND_EVERY_MS = 20_000;

export interface DaemonOptions {
  /** Reads the configuration anew; throws when it is wrong. */
  configure: () => Promise<AppOptions>;
  env: NodeJS.ProcessEnv;
  pid: number;
  clock: Clock;
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #log: Logger;
  readonly #notifier: Notifier;
  #app: App;
  #watchdog: Watchdog | undefined;
  /** Reloads wait for each other and for the start. */
  #reloads: Promise<void> = Promise.resolve();
  #stopping = new AbortController();

  private constructor(options: DaemonOptions, first: AppOptions) {
    this.#options = options;
    this.#log = first.log;
    this.#notifier = new Notifier({ env: options.env, pid: options.pid, logger: first.log.child({ room: "systemd" }) });
    this.#app = new App(first);
  }

  /** Throws a `config` PipitError when the configuration is wrong. */
  static async create(options: DaemonOptions): Promise<Daemon> {
    return new Daemon(options, await options.configure());
  }

  get app(): App {
    return this.#app;
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#notifier.start();
    await this.#run(signal);
  }

  /** For SIGHUP. A wrong configuration is logged and changes nothing. */
  reload(): Promise<void> {
    this.#reloads = this.#reloads.then(() => this.#reload());
    return this.#reloads;
  }

  async stop(): Promise<void> {
    this.#notifier.stopping("Stopping");
    this.#stopping.abort();
    await this.#reloads;
    this.#watchdog?.stop();
    await this.#app.stop();
    await this.#notifier.stop();
  }

  async #reload(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#notifier.reloading();
    try {
      const next = await this.#options.configure();
      this.#log.info({}, "the configuration was read again");
      this.#watchdog?.stop();
      await this.#app.stop();
      this.#app = new App(next);
      await this.#run(this.#stopping.signal);
    } catch (error) {
      this.#log.error({ err: toError(error) }, "the new configuration is wrong; going on with the old one");
      this.#notifier.ready(this.#app.summary);
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const app = this.#app;
    await app.start(signal);
    const clock = this.#options.clock;
    this.#watchdog = new Watchdog({ rooms: app.healthSources, notifier: this.#notifier, clock, logger: this.#log });
    this.#watchdog.start();
    await this.#whileLoading(Promise.race([app.whenModelSettled(), aborted(signal)]));
    if (signal.aborted) return;
    this.#notifier.ready(app.summary);
    app.onSummary = (summary) => this.#notifier.status(summary);
  }

  /** A model that takes minutes to load is no hanging start. */
  async #whileLoading(loading: Promise<void>): Promise<void> {
    const { clock } = this.#options;
    let cancel = () => {};
    const extend = () => {
      this.#notifier.status(this.#app.summary);
      this.#notifier.extendTimeout(EXTENSION_MS);
      cancel = clock.after(EXTEND_EVERY_MS, extend);
    };
    extend();
    try {
      await loading;
    } finally {
      cancel();
    }
  }
}

/** Resolves when the signal fires. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
