// Tells the service manager what the daemon is doing (sd_notify(3)): ready, status, reloading, stopping, alive.
// Outside a service manager every call is a no-op. Messages leave in the order of the calls; a failed one is logged, once
// until one succeeds again, and never thrown: a daemon does not die of a status line.
import { PipitError, toError } from "../core/errors.ts";
import type { Logger } from "../core/ports.ts";
import { openWithChild, openWithKoffi, type DatagramSender } from "./datagram.ts";

export interface NotifierOptions {
  env: NodeJS.ProcessEnv;
  pid: number;
  logger: Logger;
  /** The senders to try, best first; absent means koffi, then `systemd-notify`. */
  openers?: ((path: string, env: NodeJS.ProcessEnv) => Promise<DatagramSender>)[];
  /** CLOCK_MONOTONIC in microseconds, for RELOADING=1. */
  monotonicUs?: () => bigint;
}

export class Notifier {
  readonly #options: NotifierOptions;
  #sender: DatagramSender | undefined;
  #queue: Promise<void> = Promise.resolve();
  #failing = false;

  constructor(options: NotifierOptions) {
    this.#options = options;
  }

  /** How messages leave: `none` outside a service manager, or where no way to send was found. */
  get means(): "koffi" | "systemd-notify" | "none" {
    return this.#sender?.means ?? "none";
  }

  /** The watchdog period the manager expects of this process; undefined when it expects none. */
  get watchdogMs(): number | undefined {
    const { env, pid } = this.#options;
    const us = Number(env["WATCHDOG_USEC"]);
    if (!Number.isFinite(us) || us <= 0) return undefined;
    const forPid = env["WATCHDOG_PID"];
    return forPid === undefined || forPid === "" || Number(forPid) === pid ? us / 1000 : undefined;
  }

  /**
   * Finds a way to send. Throws a `config` PipitError of code `notify_unavailable` when the manager expects a watchdog and
   * there is none: the unit would be killed every WatchdogSec for no visible reason.
   */
  async start(): Promise<void> {
    if (this.#sender) return;
    const { env, logger } = this.#options;
    const path = env["NOTIFY_SOCKET"];
    const problems: string[] = [];
    if (path) this.#sender = await this.#open(path, problems);
    else problems.push("NOTIFY_SOCKET is not set");
    if (this.means === "koffi") {
      logger.debug({}, "service manager is notified through its socket");
    } else if (this.means === "systemd-notify") {
      logger.warn({ problems }, "koffi is not usable: notifying through systemd-notify, which needs NotifyAccess=all");
    } else if (this.watchdogMs !== undefined) {
      throw new PipitError(
        "config",
        "notify_unavailable",
        `WATCHDOG_USEC=${env["WATCHDOG_USEC"]} asks for a watchdog, but the service manager cannot be notified ` +
          `(${problems.join("; ")}). Use Type=notify with NotifyAccess=main, or remove WatchdogSec from the unit.`,
      );
    } else {
      logger.info({ problems }, "no service manager to notify");
    }
  }

  /** Sends what is queued and closes the socket. Idempotent. */
  async stop(): Promise<void> {
    await this.#queue;
    this.#sender?.close();
    this.#sender = undefined;
  }

  ready(status: string): void {
    this.#send(["READY=1", statusLine(status)]);
  }

  /** One line in words, shown by `systemctl status`. */
  status(text: string): void {
    this.#send([statusLine(text)]);
  }

  /** Follow it with `ready` when the new configuration is in force (or the old one again). */
  reloading(): void {
    const us = this.#options.monotonicUs?.() ?? process.hrtime.bigint() / 1000n;
    this.#send(["RELOADING=1", `MONOTONIC_USEC=${us}`, statusLine("Reloading the configuration")]);
  }

  stopping(status: string): void {
    this.#send(["STOPPING=1", statusLine(status)]);
  }

  beat(): void {
    this.#send(["WATCHDOG=1"]);
  }

  /** From now on, `ms` more for the start or the stop under way; repeat it before it runs out. */
  extendTimeout(ms: number): void {
    this.#send([`EXTEND_TIMEOUT_USEC=${Math.round(ms * 1000)}`]);
  }

  async #open(path: string, problems: string[]): Promise<DatagramSender | undefined> {
    const { env, openers = [openWithKoffi, openWithChild] } = this.#options;
    if (!path.startsWith("/") && !path.startsWith("@")) {
      problems.push(`NOTIFY_SOCKET takes a path or an abstract name (@…), got ${path}`);
      return undefined;
    }
    for (const open of openers) {
      try {
        return await open(path, env);
      } catch (thrown) {
        problems.push(toError(thrown).message);
      }
    }
    return undefined;
  }

  #send(lines: string[]): void {
    const sender = this.#sender;
    if (!sender) return;
    this.#queue = this.#queue
      .then(() => sender.send(lines))
      .then(
        () => {
          this.#failing = false;
        },
        (thrown: unknown) => {
          if (!this.#failing) this.#options.logger.warn({ error: toError(thrown).message, lines }, "notifying failed");
          this.#failing = true;
        },
      );
  }
}

function statusLine(text: string): string {
  return `STATUS=${text.replace(/\s*[\r\n]+\s*/g, " ")}`;
}
