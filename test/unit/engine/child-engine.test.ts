// The parent's half of the engine, against a child process that speaks the protocol and dies on demand.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { GenerateJob, ModelSpec, Piece, Step } from "../../../src/core/ports.ts";
import { ChildEngine } from "../../../src/engine/child-engine.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { Mailbox } from "../../fakes/mailbox.ts";

const ENTRY = path.resolve(import.meta.dirname, "../../fixtures/fake-child.mjs");

interface Stage {
  engine: ChildEngine;
  clock: FakeClock;
  deaths: Mailbox<string>;
  steps: Mailbox<Step>;
  spec: ModelSpec;
}

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function stage(): Promise<Stage> {
  const directory = mkdtempSync(path.join(tmpdir(), "pipit-engine-"));
  cleanups.push(() => rmSync(directory, { recursive: true }));
  const [clock, deaths, steps] = [new FakeClock(), new Mailbox<string>(), new Mailbox<Step>()];
  const events = { onDeath: (reason: string) => deaths.put(reason), onStep: (step: Step) => steps.put(step) };
  const engine = new ChildEngine({ entry: ENTRY, nice: 0 }, events, new FakeLogger(), clock);
  cleanups.push(() => engine.stop());
  const file = path.join(directory, "model.gguf");
  writeFileSync(file, "fine");
  const spec: ModelSpec = {
    name: "tiny",
    path: file,
    kind: "decoder",
    contextTokens: 64,
    batchTokens: 8,
    sequences: 1,
    maxThreads: 1,
  };
  await engine.start();
  await engine.load(spec);
  return { engine, clock, deaths, steps, spec };
}

const job = (text: string): GenerateJob => ({
  id: text,
  turns: [{ role: "user", text }],
  maxTokens: 9,
  temperature: 0,
});

async function answer({ engine }: Stage, text: string, signal?: AbortSignal): Promise<string[]> {
  const pieces: Piece[] = [];
  for await (const piece of engine.generate(job(text), signal)) pieces.push(piece);
  return pieces.map((piece) => (piece.kind === "text" ? piece.text : piece.finish));
}

const died = expect.objectContaining({ kind: "transient", code: "engine_died" });

describe("the engine's parent", () => {
  test("hands out pieces in their order, the end last", async () => {
    expect(await answer(await stage(), "one two three")).toEqual(["one", "two", "three", "stop"]);
  });

  test("passes a refusal of the child on as one", async () => {
    await expect(answer(await stage(), "too long")).rejects.toMatchObject({ kind: "request", code: "too_long" });
  });

  test("passes threads on, to the next child too", async () => {
    const on = await stage();
    on.engine.setThreads({ prefill: 2, decode: 3 });
    expect(await on.steps.take()).toMatchObject({ threads: 3 });
    await expect(answer(on, "die")).rejects.toEqual(died);
    on.clock.advance(0);
    expect(await on.steps.take()).toMatchObject({ threads: 3 });
  });

  test("keeps vectors binary", async () => {
    const { engine } = await stage();
    const { vectors } = await engine.embed(["a", "b"]);
    expect(vectors).toEqual([Float32Array.from([1, 0]), Float32Array.from([1, 0])]);
  });
});

describe("the death of the child", () => {
  test.each([
    ["die", "killed by SIGKILL"],
    ["exit", "exited with code 3"],
  ])("by %s rejects what is in flight and says why", async (command, reason) => {
    const on = await stage();
    const waits = answer(on, "wait");
    const dies = answer(on, command);
    await expect(waits).rejects.toEqual(died);
    await expect(dies).rejects.toEqual(died);
    expect(await on.deaths.take()).toBe(reason);
    expect(on.engine.status).toMatchObject({ state: "restarting", deaths: 1, lastDeath: reason });
  });

  test("brings a child with another model, if one was wanted in the meantime, and only with that", async () => {
    const on = await stage();
    await expect(answer(on, "die")).rejects.toEqual(died);
    const smaller = { ...on.spec, contextTokens: 32 };
    const loads = on.engine.load(smaller);
    on.clock.advance(0);
    expect(await loads).toMatchObject({ contextTokens: 32 });
    expect(on.engine.status).toMatchObject({ state: "ready", model: { contextTokens: 32 } });
    expect(await answer(on, "loads")).toEqual(["1", "stop"]);
  });

  test("brings a child without the model that was unloaded in the meantime", async () => {
    const on = await stage();
    await expect(answer(on, "die")).rejects.toEqual(died);
    const unloads = on.engine.unload("decoder");
    on.clock.advance(0);
    await unloads;
    expect(on.engine.status).toMatchObject({ state: "empty" });
    expect(await answer(on, "loads")).toEqual(["0", "stop"]);
  });

  test("brings a new child with the same model", async () => {
    const on = await stage();
    const { pid } = on.engine.status;
    await expect(answer(on, "die")).rejects.toEqual(died);
    on.clock.advance(0);
    expect(await answer(on, "alive")).toEqual(["alive", "stop"]);
    expect(on.engine.status).toMatchObject({ state: "ready", deaths: 1, model: { name: "tiny" } });
    expect(on.engine.status.pid).not.toBe(pid);
  });

  test("makes a question that comes in between wait for the new child", async () => {
    const on = await stage();
    await expect(answer(on, "die")).rejects.toEqual(died);
    const early = answer(on, "early");
    on.clock.advance(0);
    expect(await early).toEqual(["early", "stop"]);
  });

  test("again and again is waited for longer each time", async () => {
    const on = await stage();
    for (const delayMs of [0, 1000, 2000, 5000]) {
      await expect(answer(on, "die")).rejects.toEqual(died);
      on.clock.advance(Math.max(0, delayMs - 1));
      if (delayMs > 0) expect(on.engine.status.state).toBe("restarting");
      const next = answer(on, "next");
      on.clock.advance(1);
      expect(await next).toEqual(["next", "stop"]);
    }
  });

  test("after a long healthy life is replaced at once", async () => {
    const on = await stage();
    await expect(answer(on, "die")).rejects.toEqual(died);
    on.clock.advance(0);
    await answer(on, "alive");
    on.clock.advance(60_000);
    await expect(answer(on, "die")).rejects.toEqual(died);
    on.clock.advance(0);
    expect(await answer(on, "alive")).toEqual(["alive", "stop"]);
  });

  test("does not keep a question beyond its cancel or deadline while the next child is awaited", async () => {
    const on = await stage();
    await expect(answer(on, "die")).rejects.toEqual(died);
    const controller = new AbortController();
    const waits = answer(on, "never", controller.signal);
    controller.abort(new Error("expired"));
    await expect(waits).rejects.toMatchObject({ code: "aborted" });
  });

  test("while the next child loads is not the fault of a question that waits", async () => {
    const on = await stage();
    writeFileSync(on.spec.path, "deadly");
    await expect(answer(on, "die")).rejects.toEqual(died);
    await on.deaths.take();
    const waits = answer(on, "patient");
    on.clock.advance(0);
    expect(await on.deaths.take()).toBe("killed by SIGKILL");
    writeFileSync(on.spec.path, "fine");
    on.clock.advance(1000);
    expect(await waits).toEqual(["patient", "stop"]);
  });

  test("leaves no child behind that could not load its model again: the next one tries", async () => {
    const on = await stage();
    writeFileSync(on.spec.path, "broken");
    await expect(answer(on, "die")).rejects.toEqual(died);
    await on.deaths.take();
    const waits = answer(on, "patient");
    on.clock.advance(0);
    expect(await on.deaths.take()).toBe("killed by SIGKILL");
    writeFileSync(on.spec.path, "fine");
    on.clock.advance(1000);
    expect(await waits).toEqual(["patient", "stop"]);
  });
});

describe("a model that does not load", () => {
  test("is reported and not tried again by the next child", async () => {
    const on = await stage();
    writeFileSync(on.spec.path, "broken");
    await expect(on.engine.load(on.spec)).rejects.toMatchObject({ message: "the file is broken" });
    expect(on.engine.status.state).toBe("empty");
    await expect(answer(on, "die")).rejects.toEqual(died);
    on.clock.advance(0);
    expect(await answer(on, "alive")).toEqual(["alive", "stop"]);
  });
});

describe("cancel", () => {
  test("reaches the child", async () => {
    const on = await stage();
    const controller = new AbortController();
    const waits = answer(on, "wait", controller.signal);
    // The child takes calls in their order: once it has answered this, it has the one before.
    await on.engine.tokenize([]);
    controller.abort(new Error("enough"));
    await expect(waits).rejects.toMatchObject({ code: "aborted" });
  });

  test("that came before the call starts nothing", async () => {
    const on = await stage();
    await expect(answer(on, "die", AbortSignal.abort(new Error("late")))).rejects.toMatchObject({ code: "aborted" });
    expect(on.engine.status.deaths).toBe(0);
  });

  test("happens by itself when the reader walks away", async () => {
    const on = await stage();
    for await (const piece of on.engine.generate(job("one two"))) {
      expect(piece).toEqual({ kind: "text", text: "one" });
      break;
    }
    expect(await answer(on, "next")).toEqual(["next", "stop"]);
  });
});

describe("stop", () => {
  test("ends the child and rejects what is in flight", async () => {
    const on = await stage();
    const waits = answer(on, "wait");
    await on.engine.tokenize([]);
    const stopped = on.engine.stop();
    await expect(waits).rejects.toMatchObject({ code: "engine_stopped" });
    await stopped;
    expect(on.engine.status).toMatchObject({ state: "stopped", deaths: 0 });
    await on.engine.stop();
  });

  test("between two children leaves nobody waiting", async () => {
    const on = await stage();
    await expect(answer(on, "die")).rejects.toEqual(died);
    const waits = answer(on, "never");
    const refused = expect(waits).rejects.toMatchObject({ code: "engine_stopped" });
    await on.engine.stop();
    await refused;
    expect(on.clock.pending).toBe(0);
  });

  test("kills a child that does not listen", async () => {
    const on = await stage();
    process.kill(on.engine.status.pid ?? 0, "SIGSTOP");
    const stopped = on.engine.stop();
    on.clock.advance(500);
    await stopped;
  });
});
