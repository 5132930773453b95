// What every delivery run shares: its size (short in CI, long by PIPIT_CHAOS=long), its seed, the broker, the proxy, the
// agent and the asker, and the figures it leaves in PIPIT_CHAOS_REPORT, one JSON line a run.
import { appendFileSync, readFileSync } from "node:fs";
import { Random } from "../fakes/random.ts";
import { startMosquitto } from "../fixtures/mosquitto.ts";
import type { Mosquitto } from "../fixtures/mosquitto.ts";
import { ChaosAgent } from "./agent.ts";
import type { ChaosAgentOptions } from "./agent.ts";
import { Asker } from "./asker.ts";
import type { Tally } from "./ledger.ts";
import { ChaosProxy } from "./proxy.ts";

export const SEED = Number(process.env["PIPIT_CHAOS_SEED"] ?? 1);
const LONG = process.env["PIPIT_CHAOS"] === "long";

/** The long form takes hours and is not for CI: PIPIT_CHAOS=long npx vitest run --project chaos */
export function sized(short: number, long: number): number {
  return LONG ? long : short;
}

export interface Scene {
  random: Random;
  mosquitto: Mosquitto;
  proxy: ChaosProxy;
  agent: ChaosAgent;
  asker: Asker;
}

/** Broker, proxy, a started agent and an asker; taken down at the end, with the agent's log shown when the run failed. */
export async function inScene(
  options: Partial<ChaosAgentOptions>,
  run: (scene: Scene) => Promise<void>,
): Promise<void> {
  const random = new Random(SEED);
  const mosquitto = await startMosquitto({
    persistence: true,
    extra: ["max_queued_messages 0", "log_type error"],
  });
  const proxy = new ChaosProxy(mosquitto.port, random);
  await proxy.start();
  const agent = new ChaosAgent({ brokerUrl: `mqtt://127.0.0.1:${proxy.port}`, ...options });
  const asker = await Asker.connect(mosquitto.url);
  try {
    const online = asker.nextOnline();
    agent.start();
    await within(30_000, "the agent online for the first time", online);
    await run({ random, mosquitto, proxy, agent, asker });
  } catch (error) {
    console.error(`the end of the agent's log:\n${tail(agent.logFile)}`);
    throw error;
  } finally {
    await agent.stop();
    await asker.close();
    await proxy.stop();
    await mosquitto.stop();
  }
}

/** Waits for the last replies, and a little longer for copies of them. */
export async function settled({ asker }: Pick<Scene, "asker">, mostMs: number): Promise<Tally> {
  await within(mostMs, "an answer to every question", asker.ledger.whenOutstanding(0)).catch((error: unknown) => {
    console.error(error);
  });
  await pause(1_000);
  return asker.ledger.tally();
}

export function report(run: string, figures: object): void {
  const line = JSON.stringify({ run, seed: SEED, size: LONG ? "long" : "short", ...figures });
  console.log(line);
  const file = process.env["PIPIT_CHAOS_REPORT"];
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function tail(file: string): string {
  try {
    return readFileSync(file, "utf8").split("\n").slice(-30).join("\n");
  } catch {
    return "(none)";
  }
}
