// What follows the board: the governor, the calibration it steers by, its schedule, and the trace of both.
import { join } from "node:path";
import type { Config } from "./config/schema.ts";
import { type BoardWarning, boardWarnings, type WarningState } from "./core/board-warnings.ts";
import type { CalibrationCard } from "./core/calibration.ts";
import { toError } from "./core/errors.ts";
import type { Plan } from "./core/plan.ts";
import type { Clock, Engine, Logger, Step } from "./core/ports.ts";
import type { Readings } from "./core/readings.ts";
import { CardStore } from "./device/card-store.ts";
import { cpuName } from "./device/inventory.ts";
import { Sensors } from "./device/sensors.ts";
import { libraryVersion } from "./engine/library-version.ts";
import { CalibrationSchedule } from "./work/calibration-schedule.ts";
import { type CalibrationSubject, Calibrator } from "./work/calibrator.ts";
import { Governor } from "./work/governor.ts";
import type { ModelPlan } from "./work/model-keeper.ts";
import { TraceRecorder } from "./work/trace-recorder.ts";

export interface GovernanceOptions {
  config: Config;
  engine: Engine;
  /** Nobody asks anything and nothing waits. */
  isIdle: () => boolean;
  onPlan: (plan: Plan, cause: string) => void;
  onCard: (card: CalibrationCard) => void;
  /** Heat or a weak power supply has come or gone. */
  onWarning: (warning: BoardWarning) => void;
  clock: Clock;
  log: Logger;
}

const NO_MODEL = {
  contextTokens: 0,
  batchTokens: 0,
  sequences: 1,
  modelRung: 0,
  modelReason: "no model is loaded yet",
};

export class Governance {
  readonly governor: Governor;
  readonly calibrator: Calibrator;
  readonly #sensorsRoot: string;
  readonly #sensors: Sensors;
  readonly #schedule: CalibrationSchedule | undefined;
  readonly #recorder: TraceRecorder | undefined;
  readonly #log: Logger;
  #tokens = 0;
  #warnings: WarningState = {};
  /** The model that is being loaded or is loaded. */
  #subject: CalibrationSubject | undefined;

  constructor({ config, engine, isIdle, onPlan, onCard, onWarning, clock, log }: GovernanceOptions) {
    const { sensorsRoot, courtesy, calibrateCron, traceFile } = config.governor;
    this.#log = log;
    this.#sensorsRoot = sensorsRoot;
    this.#sensors = new Sensors({ sensorsRoot, clock });
    this.#recorder = traceFile === undefined ? undefined : new TraceRecorder(traceFile, log);
    this.governor = new Governor({
      clock,
      log: log.child({ room: "governor" }),
      sensors: this.#sensors,
      engine,
      plan: NO_MODEL,
      courtesy,
      fixedThreads: config.model.threads,
      events: {
        onPlan: (plan, { cause }) => onPlan(plan, cause),
        onCurve: (curve) => this.#recorder?.record({ curve }),
        onSample: (sample) => {
          this.#recorder?.record(sample);
          this.#warn(sample.readings, onWarning);
        },
      },
    });
    const cards = new CardStore(join(config.state.dir, "cards"));
    const calibratorLog = log.child({ room: "calibrator" });
    this.calibrator = new Calibrator({
      engine,
      governor: this.governor,
      cards,
      clock,
      log: calibratorLog,
      isIdle,
      onlyWhenAsked: calibrateCron === "off",
      onCard,
    });
    if (calibrateCron !== "off") {
      this.#schedule = new CalibrationSchedule(calibrateCron, () => this.calibrator.makeDue());
    }
  }

  /** The last reading, or one taken now. */
  readings(fresh: boolean): Readings {
    return (fresh ? this.governor.lookAgain() : this.governor.readings) ?? this.#sensors.read();
  }

  /** Tokens that models have read and written since the start. */
  get tokens(): number {
    return this.#tokens;
  }

  async start(): Promise<void> {
    await this.governor.start();
    this.calibrator.start();
    this.#schedule?.start();
  }

  async stop(): Promise<void> {
    await this.#schedule?.stop();
    await this.calibrator.stop();
    await this.governor.stop();
    await this.#recorder?.stop();
  }

  onStep(step: Step): void {
    this.#tokens += step.tokens;
    this.governor.onStep(step);
    this.calibrator.onStep(step);
  }

  /** Memory is planned for a model that is about to be loaded or unloaded. */
  plan({ load, rung, reason, short }: ModelPlan): void {
    const { contextTokens, batchTokens, sequences } = load?.spec ?? NO_MODEL;
    const shape = { contextTokens, batchTokens, sequences, modelRung: rung, modelReason: reason };
    this.governor.setMemoryPlan(shape, short ? reason : undefined);
    if (!load) return;
    const { name, sha256 } = load.file;
    const key = { modelSha256: sha256, cpu: cpuName(this.#sensorsRoot), library: libraryVersion() };
    this.#subject = { name, key, maxThreads: load.spec.maxThreads, sequences };
  }

  modelChanged(isReady: boolean): void {
    this.calibrator.setSubject(isReady ? this.#subject : undefined).catch((error: unknown) => {
      this.#log.warn({ err: toError(error) }, "the calibration card could not be read");
    });
  }

  #warn(readings: Readings, tell: GovernanceOptions["onWarning"]): void {
    const { state, news } = boardWarnings(this.#warnings, readings);
    this.#warnings = state;
    for (const { warning, active, reason } of news) {
      if (active) this.#log.warn({ warning }, reason);
      tell({ warning, active, reason });
    }
  }

  /** The governor as the pipeline sees it: a question ends a calibration at once. */
  ofQuestions(): Pick<Governor, "current" | "forQuestion" | "expectedMs"> {
    const { governor, calibrator } = this;
    return {
      get current() {
        return governor.current;
      },
      expectedMs: (phase) => governor.expectedMs(phase),
      forQuestion: (courtesy) => {
        void calibrator.interrupt();
        return governor.forQuestion(courtesy);
      },
    };
  }
}
