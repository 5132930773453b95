// `…/state` as it goes on the wire: everything the agent measured, chose and is doing.
import { planJson } from "../core/reply.ts";
import type { LinkStatus } from "../core/ports.ts";
import type { Governor } from "./governor.ts";
import type { ModelKeeper } from "./model-keeper.ts";
import type { Pipeline } from "./pipeline.ts";

export interface StateSources {
  version: string;
  startedMs: number;
  governor: Governor;
  models: {
    decoder: Pick<ModelKeeper, "state">;
    /** With the decoder among them. */
    all: readonly Pick<ModelKeeper, "state">[];
  };
  pipeline: Pipeline;
  deaths: () => number;
  link: () => LinkStatus;
}

export function stateJson(sources: StateSources, nowMs: number): object {
  const { governor, models, pipeline } = sources;
  const { waiting, running, answered, refused, paused, lastAnswerWallMs } = pipeline.status;
  const lastAnswerAt = lastAnswerWallMs === undefined ? undefined : new Date(lastAnswerWallMs).toISOString();
  return {
    version: sources.version,
    uptime_s: Math.round((nowMs - sources.startedMs) / 1000),
    model: modelJson(models.decoder),
    encoders: models.all.filter((keeper) => keeper !== models.decoder).map(modelJson),
    plan: planJson(governor.current),
    ...boardJson(governor),
    queue: { waiting, running, answered, refused, paused, last_answer_at: lastAnswerAt },
    speed: {
      prefill_tokens_per_second: round(pipeline.speeds.prefillTokensPerSecond),
      decode_tokens_per_second: round(pipeline.speeds.decodeTokensPerSecond),
    },
    engine_deaths: sources.deaths(),
    connects: sources.link().connects,
  };
}

type ModelWords =
  | { state: "loading" | "ready"; name: string }
  | { state: "unloaded"; reason: string }
  | { state: "failed"; error: Error };

export interface Summary {
  model: ModelWords;
  threads: number;
  link: LinkStatus;
  /** Whether the journal takes questions. */
  writable: boolean;
}

/** One line in words for the service manager: what keeps the agent from its work first, then model, plan and link. */
export function summaryLine({ model, threads, link, writable }: Summary): string {
  const disk = writable ? "" : "the journal cannot be written (disk full?); ";
  const bus =
    link.state === "online" ? "on the bus" : `waiting for the broker${link.reason ? ` (${link.reason})` : ""}`;
  return `${disk}${modelLine(model, threads)}; ${bus}`;
}

function modelLine(model: ModelWords, threads: number): string {
  switch (model.state) {
    case "loading":
      return `loading ${model.name}`;
    case "ready":
      return `${model.name} ready, ${threads} ${threads === 1 ? "thread" : "threads"}`;
    case "unloaded":
      return `no model: ${model.reason}`;
    case "failed":
      return `no model: ${model.error.message}`;
  }
}

function modelJson({ state }: Pick<ModelKeeper, "state">): object {
  switch (state.state) {
    case "loading":
      return { name: state.name, state: "loading", progress: round(state.fraction) };
    case "failed":
      return { name: state.name, state: "failed", error: state.error.message };
    case "unloaded":
      return { name: state.name, state: "unloaded", reason: state.reason };
    case "ready":
      return {
        name: state.name,
        state: "ready",
        context_tokens: state.model.contextTokens,
        load_ms: Math.round(state.model.loadMs),
        rss_bytes: state.model.memory.rssBytes,
      };
  }
}

function boardJson({ readings }: Governor): object {
  if (!readings) return {};
  return {
    cpu: {
      cores: readings.coreCount,
      allowed_cores: round(readings.allowedCores),
      foreign_cores: round(readings.foreignCores),
      own_cores: round(readings.ownCores),
    },
    memory: {
      available_bytes: readings.memoryAvailableBytes,
      ...(readings.groupMemory && {
        group_limit_bytes: readings.groupMemory.limitBytes,
        group_headroom_bytes: readings.groupMemory.headroomBytes,
      }),
      ...(readings.child && { engine_rss_bytes: readings.child.rssBytes }),
    },
    ...(readings.temperatureC !== undefined && { temperature_c: readings.temperatureC }),
    ...(readings.throttle && {
      throttle: {
        under_voltage: readings.throttle.underVoltage,
        throttled: readings.throttle.throttled || readings.throttle.softTemperatureLimit,
      },
    }),
  };
}

function round(value: number | undefined): number | undefined {
  return value === undefined ? undefined : Math.round(value * 100) / 100;
}
