// The checks of `pipit doctor`: each looks at one thing and says how it stands and, where it does not stand well, what to do.
import { access, constants, mkdir, statfs } from "node:fs/promises";
import type { LoadedConfig } from "../config/load.ts";
import { systemClock } from "../core/clock.ts";
import { toError } from "../core/errors.ts";
import { memoryBudget } from "../core/memory-plan.ts";
import type { Readings } from "../core/readings.ts";
import { linkOptionsOf } from "../link-options.ts";
import { Sensors } from "../device/sensors.ts";
import { sizeText } from "../models/progress.ts";
import { ModelLibrary } from "../models/library.ts";
import { probeBroker } from "../mqtt/probe.ts";
import { specifyModel } from "../work/model-specifier.ts";

export interface Finding {
  check: string;
  status: "ok" | "warning" | "failure";
  message: string;
  /** What to do about it. */
  fix?: string;
}

export type Check = (context: CheckContext) => Promise<Finding[]>;

export interface CheckContext extends Pick<LoadedConfig, "config" | "secret"> {
  readings: Readings;
  env: NodeJS.ProcessEnv;
}

/** The state directory holds the journal: this much must be free for it and for logs. */
const LEAST_FREE_BYTES = 128 * 2 ** 20;
/** A broker on the same network takes a millisecond or two; 40 is Nagle's algorithm waiting for a delayed ACK. */
const SLOW_ROUND_TRIP_MS = 30;
/** Before this version was made: a clock that was never set. */
const PLAUSIBLE_WALL_MS = Date.UTC(2026, 0, 1);

export const CHECKS: readonly Check[] = [runtime, cpu, memory, clock, state, model, broker];

/** Two readings a moment apart: the load of the neighbours is a difference. */
export async function readBoard({ config }: Pick<LoadedConfig, "config">): Promise<Readings> {
  const sensors = new Sensors({ sensorsRoot: config.governor.sensorsRoot, clock: systemClock });
  sensors.read();
  await new Promise<void>((resolve) => systemClock.after(500, resolve));
  return sensors.read();
}

async function runtime(): Promise<Finding[]> {
  const { node } = process.versions;
  const [major = 0, minor = 0] = node.split(".").map(Number);
  const fits = major > 20 || (major === 20 && minor >= 19);
  const version = finding(
    "runtime",
    fits ? "ok" : "failure",
    `Node.js ${node} on ${process.platform} ${process.arch}`,
    "install Node.js 20.19 or newer",
  );
  const native = `@node-llama-cpp/${process.platform}-${process.arch === "arm" ? "armv7l" : process.arch}`;
  try {
    await import(native);
    return [version, finding("native library", "ok", `${native} can be loaded`)];
  } catch (error) {
    return [
      version,
      finding("native library", "failure", `${native}: ${toError(error).message}`, "run npm ci on this machine"),
    ];
  }
}

async function cpu({ readings }: CheckContext): Promise<Finding[]> {
  const { coreCount, allowedCores, foreignCores, throttle, temperatureC } = readings;
  const free = allowedCores - foreignCores;
  const text = `${coreCount} cores, ${allowedCores} allowed, neighbours use ${foreignCores.toFixed(1)}`;
  const findings = [
    finding("cpu", free >= 0.75 ? "ok" : "warning", text, "answers will be slow while the neighbours are busy"),
  ];
  if (temperatureC !== undefined) {
    findings.push(
      finding(
        "temperature",
        temperatureC < 75 ? "ok" : "warning",
        `${temperatureC.toFixed(0)} °C`,
        "cool the board: from 80 °C on it slows itself down",
      ),
    );
  }
  if (throttle?.underVoltage)
    findings.push(finding("power", "warning", "under-voltage", "use a stronger power supply"));
  return findings;
}

async function memory({ readings }: CheckContext): Promise<Finding[]> {
  const { memoryAvailableBytes, memoryTotalBytes, groupMemory, pressure } = readings;
  const parts = [`${sizeText(memoryAvailableBytes)} available of ${sizeText(memoryTotalBytes)}`];
  if (groupMemory)
    parts.push(`limited to ${sizeText(groupMemory.limitBytes)}, ${sizeText(groupMemory.headroomBytes)} left`);
  parts.push(
    pressure ? "pressure is reported" : "no pressure information (optional: psi=1 on the kernel command line)",
  );
  const available = memoryBudget(readings, 0);
  return [
    finding(
      "memory",
      available > 300 * 2 ** 20 ? "ok" : "warning",
      parts.join("; "),
      "take a smaller model or context",
    ),
  ];
}

async function clock(): Promise<Finding[]> {
  const now = systemClock.wallMs();
  const text = new Date(now).toISOString();
  return [
    finding(
      "clock",
      now > PLAUSIBLE_WALL_MS ? "ok" : "warning",
      text,
      "set the clock (timedatectl): TLS and deadlines need it",
    ),
  ];
}

async function state({ config }: CheckContext): Promise<Finding[]> {
  const { dir } = config.state;
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await access(dir, constants.W_OK);
    const { bavail, bsize } = await statfs(dir);
    const free = bavail * bsize;
    return [
      finding(
        "state",
        free > LEAST_FREE_BYTES ? "ok" : "warning",
        `${dir} is writable, ${sizeText(free)} free`,
        "free some space",
      ),
    ];
  } catch (error) {
    return [
      finding(
        "state",
        "failure",
        `${dir}: ${toError(error).message}`,
        "give the user of the agent a writable state.dir",
      ),
    ];
  }
}

async function model({ config, readings, env }: CheckContext): Promise<Finding[]> {
  const { dir, catalogueFile, contextTokens, batchTokens, sequences, encoder } = config.model;
  const name = config.model.name === "none" ? encoder : config.model.name;
  const library = new ModelLibrary({ directory: dir, catalogFile: catalogueFile, env });
  try {
    const file = await library.find(name);
    const present = finding("model", "ok", `${file.name} is here and intact (${sizeText(file.sizeBytes)})`);
    const { reason } = specifyModel({
      file: { ...file, shape: file.header },
      configured: { contextTokens, batchTokens, sequences },
      readings,
    });
    return [present, finding("memory plan", "ok", reason)];
  } catch (error) {
    const { message } = toError(error);
    return [finding("model", "failure", message, `pipit models fetch ${name}`)];
  }
}

async function broker({ config, secret }: CheckContext): Promise<Finding[]> {
  if (config.broker.embedded) return [finding("broker", "ok", "embedded, starts with the agent")];
  const topic = `${config.device.baseTopic}/${config.device.id}/doctor`;
  try {
    const found = await probeBroker(linkOptionsOf(config, secret), topic);
    const version = found.version === 5 ? "MQTT 5" : "MQTT 3.1.1";
    const text = `${config.broker.url} speaks ${version}, round trip ${found.roundTripMs.toFixed(1)} ms`;
    const findings = [
      finding(
        "broker",
        found.version === 5 ? "ok" : "warning",
        text,
        "without MQTT 5 askers give `reply_to` and `id` in the payload",
      ),
    ];
    if (found.roundTripMs > SLOW_ROUND_TRIP_MS) {
      findings.push(
        finding("broker speed", "warning", "the broker waits before it sends", "mosquitto: set_tcp_nodelay true"),
      );
    }
    if (!found.retain)
      findings.push(
        finding(
          "retain",
          "warning",
          "the broker keeps no retained messages",
          "state and availability are only seen live",
        ),
      );
    if (!found.sharedSubscriptions)
      findings.push(
        finding("pools", "warning", "no shared subscriptions", "several boards cannot serve one pool through it"),
      );
    return findings;
  } catch (error) {
    const { message } = toError(error);
    return [
      finding(
        "broker",
        "failure",
        `${config.broker.url}: ${message}`,
        "start the broker, or set broker.url, or broker.embedded: true",
      ),
    ];
  }
}

function finding(check: string, status: Finding["status"], message: string, fix?: string): Finding {
  return status === "ok" || fix === undefined ? { check, status, message } : { check, status, message, fix };
}
