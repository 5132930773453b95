// What the pipeline owes the watchdog. How long an answer takes is the engine's to say; here only what no answer excuses:
// a question that is long past its deadline and still not ended, and a line that nobody takes from.
import type { Health, HealthSource } from "../core/health.ts";
import type { Clock } from "../core/ports.ts";
import type { Outbox } from "./outbox.ts";
import type { Pipeline } from "./pipeline.ts";

/** From its deadline on a question has as long to end as the longest batch of the model, and as much again. */
const OVERDUE_MS = 120_000;
/** Taking the next question is a matter of microseconds. */
const TAKE_MS = 10_000;

export class PipelineHealth implements HealthSource {
  readonly room = "pipeline";
  readonly #pipeline: Pick<Pipeline, "status" | "running">;
  readonly #outbox: Pick<Outbox, "attempts">;
  readonly #clock: Clock;

  constructor(pipeline: Pick<Pipeline, "status" | "running">, outbox: Pick<Outbox, "attempts">, clock: Clock) {
    this.#pipeline = pipeline;
    this.#outbox = outbox;
    this.#clock = clock;
  }

  health(): Health {
    const { answered, refused, waiting, running, paused } = this.#pipeline.status;
    // A reply that waits for a full disk is tried again every second.
    const { attempts } = this.#outbox;
    const nowMs = this.#clock.nowMs();
    const overdue = this.#pipeline.running.find(({ question }) => question.deadlineMs < nowMs);
    if (overdue) {
      const what = `ending question ${overdue.question.id}, whose deadline has passed`;
      return { steps: attempts, doing: { what, stepMs: OVERDUE_MS } };
    }
    const steps = answered + refused + attempts;
    if (waiting > 0 && running === 0 && !paused)
      return { steps, doing: { what: "taking the next question", stepMs: TAKE_MS } };
    return { steps };
  }
}
