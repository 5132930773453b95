// What the runs share: broker, proxy, agent and asker, taken down also when the run fails or takes too long.
import { describe, onTestFailed, onTestFinished } from "vitest";
import { Random } from "../fakes/random.ts";
import { type Figures, SEED } from "../fixtures/figures.ts";
import { type Mosquitto, mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";
import { ChaosAgent, type ChaosAgentOptions } from "./agent.ts";
import { Asker } from "./asker.ts";
import type { Tally } from "./ledger.ts";
import { ChaosProxy } from "./proxy.ts";

export interface SceneOptions extends Partial<ChaosAgentOptions> {
  /** Added to the seed, for runs of several scenes. */
  seed?: number;
}

export interface Scene {
  random: Random;
  mosquitto: Mosquitto;
  proxy: ChaosProxy;
  agent: ChaosAgent;
  asker: Asker;
  /** Ends everything; the end of the test does it, too. */
  end(): Promise<void>;
}

/** A suite that is skipped, and says why, where something is missing. */
export function chaos(name: string, tests: () => void, missing = mosquittoMissing): void {
  describe.skipIf(missing !== undefined)(missing === undefined ? name : `${name} (skipped: ${missing})`, tests);
}

/** Resolves when the agent is on the bus. */
export async function openScene({ seed = 0, ...options }: SceneOptions = {}): Promise<Scene> {
  const random = new Random(SEED + seed);
  const endings: (() => Promise<void>)[] = [];
  const end = async (): Promise<void> => {
    for (const ending of endings.splice(0).reverse()) await ending().catch(console.error);
  };
  onTestFinished(end);
  const mosquitto = await startMosquitto({
    persistence: true,
    extra: ["max_queued_messages 0", "log_type error"],
  });
  endings.push(() => mosquitto.stop());
  const proxy = new ChaosProxy(mosquitto.port, random);
  await proxy.start();
  endings.push(() => proxy.stop());
  const asker = await Asker.connect(mosquitto.url);
  endings.push(() => asker.close());
  const agent = new ChaosAgent({ brokerUrl: `mqtt://127.0.0.1:${proxy.port}`, ...options });
  endings.push(() => agent.stop());
  onTestFailed(() => {
    const { asked, answered, lost } = asker.ledger.tally();
    console.error(`${asked} asked, ${answered} answered, waiting: ${lost.join(" ")}\nthe agent's log:\n${agent.log}`);
  });
  const online = asker.nextOnline();
  agent.start();
  await within(30_000, "the agent online for the first time", online);
  return { random, mosquitto, proxy, agent, asker, end };
}

/** Waits for the last replies, and a little longer for copies of them. */
export async function settled({ asker }: Pick<Scene, "asker">, mostMs: number): Promise<Tally> {
  await within(mostMs, "an answer to every question", asker.ledger.whenOutstanding(0)).catch(console.error);
  await pause(1_000);
  return asker.ledger.tally();
}

export function delivered({ asked, answered, lost, doubled, repeats, byStatus }: Tally): Figures {
  const { ok: _, ...errors } = byStatus;
  return {
    asked,
    answered,
    lost: lost.length,
    "two different answers": doubled.length,
    "identical repeats": repeats,
    ...errors,
  };
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

let shownMs = 0;

/** At most every ten seconds, for those who watch: `npm run chaos`. */
export function progress(run: string, done: number, of: number, more = ""): void {
  if (process.env["PIPIT_FIGURES"] === undefined || performance.now() - shownMs < 10_000) return;
  shownMs = performance.now();
  console.log(`${run}: ${done} of ${of} after ${Math.round(shownMs / 1000)} s${more && `; ${more}`}`);
}
