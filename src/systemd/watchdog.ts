// Feeds the service manager's watchdog only while every room that owes progress makes it and the event loop keeps time.
// It never ends the process itself: it falls silent, says why in the log and in STATUS=, and the manager acts.
import type { HealthSource } from "../core/health.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Notifier } from "./notify.ts";
import { describeStuck, judgeProgress, type Movement } from "./progress.ts";

/** A tick this late means that the event loop was blocked: no answer and no PINGREQ would have left in that time. */
const MAX_LATENESS_MS = 2000;
/** Ticks within one watchdog period. Several, so that one late tick does not cost the process its life. */
const TICKS_PER_PERIOD = 8;

export interface WatchdogOptions {
  rooms: HealthSource[];
  notifier: Pick<Notifier, "beat" | "status" | "watchdogMs">;
  clock: Clock;
  logger: Logger;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  #movements: ReadonlyMap<string, Movement> = new Map();
  #cancel: (() => void) | undefined;
  #withheld: string | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  /** Why the last tick gave no beat, in words; undefined while all is well. */
  get withheld(): string | undefined {
    return this.#withheld;
  }

  /** Does nothing when the service manager asked for no watchdog. */
  start(): void {
    const periodMs = this.#options.notifier.watchdogMs;
    if (periodMs === undefined || this.#cancel) return;
    this.#tick(periodMs / TICKS_PER_PERIOD, this.#options.clock.nowMs());
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #tick(everyMs: number, dueMs: number): void {
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    this.#decide(nowMs, nowMs - dueMs);
    this.#cancel = clock.after(everyMs, () => this.#tick(everyMs, nowMs + everyMs));
  }

  #decide(nowMs: number, latenessMs: number): void {
    const { rooms, notifier, logger } = this.#options;
    const readings = rooms.map((source) => ({ room: source.room, health: source.health() }));
    const verdict = judgeProgress(this.#movements, readings, nowMs);
    this.#movements = verdict.movements;
    const reasons = verdict.stuck.map(describeStuck);
    if (latenessMs > MAX_LATENESS_MS) reasons.push(`event loop blocked for ${(latenessMs / 1000).toFixed(1)} s`);
    if (reasons.length === 0) {
      notifier.beat();
      if (this.#withheld !== undefined) logger.info({ was: this.#withheld }, "watchdog fed again");
      this.#withheld = undefined;
      return;
    }
    // The figures change with every tick: one line when it begins, not one a tick.
    const reason = reasons.join("; ");
    if (this.#withheld === undefined) {
      logger.error({ stuck: verdict.stuck, lateness_ms: latenessMs }, `watchdog not fed: ${reason}`);
      notifier.status(`Not making progress: ${reason}`);
    }
    this.#withheld = reason;
  }
}
