import { describe, expect, test } from "vitest";
import type { ModelSpec } from "../../../src/core/ports.ts";
import { ModelKeeper, type ModelState } from "../../../src/work/model-keeper.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeEngine } from "../../fakes/engine.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { drain, Gate } from "../../fixtures/pipeline-agent.ts";

const spec: ModelSpec = {
  name: "smollm2",
  path: "m.gguf",
  kind: "decoder",
  contextTokens: 64,
  batchTokens: 8,
  sequences: 1,
  maxThreads: 1,
};

function keeping(specify: () => Promise<ModelSpec>) {
  const [clock, engine, states] = [new FakeClock(), new FakeEngine(), [] as ModelState["state"][]];
  const options = { name: "smollm2", specify, onChange: ({ state }: ModelState) => states.push(state) };
  return { clock, states, keeper: new ModelKeeper(options, engine, clock, new FakeLogger()) };
}

const never = new AbortController().signal;

describe("the keeper of the model", () => {
  test("lets questions wait while it loads, then names the model", async () => {
    const gate = new Gate();
    const { keeper } = keeping(() => gate.enter().then(() => spec));
    keeper.start();
    const [one, other] = [keeper.whenReady(never), keeper.whenReady(never)];
    expect(keeper.state).toEqual({ state: "loading", name: "smollm2", fraction: 0 });
    gate.open();
    expect(await Promise.all([one, other])).toEqual(["smollm2", "smollm2"]);
    expect(keeper.state).toMatchObject({ state: "ready", model: { contextTokens: 64 } });
  });

  test("lets a question go that was cancelled meanwhile", async () => {
    const { keeper } = keeping(() => new Promise(() => {}));
    keeper.start();
    const controller = new AbortController();
    const waits = keeper.whenReady(controller.signal);
    controller.abort(new Error("expired"));
    await expect(waits).rejects.toThrow("expired");
  });

  test("says why there is no model, and tries again after half a minute, as often as it takes", async () => {
    let there = false;
    const { clock, keeper, states } = keeping(() =>
      there ? Promise.resolve(spec) : Promise.reject(new Error("no file")),
    );
    keeper.start();
    for (let time = 0; time < 20; time += 1) {
      await drain();
      await expect(keeper.whenReady(never)).rejects.toMatchObject({
        code: "model_unavailable",
        message: "model smollm2: no file",
      });
      there = time === 18;
      clock.advance(29_999);
      await drain();
      expect(states.filter((state) => state === "failed")).toHaveLength(time + 1);
      clock.advance(1);
      if (there) break;
    }
    await drain();
    expect(await keeper.whenReady(never)).toBe("smollm2");
  });

  test("stops while it waits to try again", async () => {
    const { clock, keeper } = keeping(() => Promise.reject(new Error("no file")));
    keeper.start();
    await drain();
    await keeper.stop();
    await keeper.stop();
    expect(clock.pending).toBe(0);
  });
});
