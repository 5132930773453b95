// Repeats the calibration by the clock, by default in the night: boards age, get coolers, lose them. The calibrator itself
// waits for an idle moment.
import { schedule, type ScheduledTask, validate } from "node-cron";
import { PipitError } from "../core/errors.ts";

export class CalibrationSchedule {
  readonly #expression: string;
  readonly #makeDue: () => void;
  #task: ScheduledTask | undefined;

  /** @param expression five fields of cron, local time. @throws PipitError `config` when it is none. */
  constructor(expression: string, makeDue: () => void) {
    if (!validate(expression)) {
      throw new PipitError("config", "bad_schedule", `calibration schedule: "${expression}" is not a cron expression`);
    }
    this.#expression = expression;
    this.#makeDue = makeDue;
  }

  start(): void {
    this.#task ??= schedule(this.#expression, this.#makeDue);
  }

  async stop(): Promise<void> {
    await this.#task?.destroy();
    this.#task = undefined;
  }
}
