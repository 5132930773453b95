import type { ModelSpec } from "../../src/core/ports.ts";
import { FakeEngine } from "../fakes/engine.ts";
import { engineContract } from "./engine.ts";

const spec: ModelSpec = {
  name: "fake",
  path: "none",
  kind: "decoder",
  contextTokens: 512,
  batchTokens: 64,
  sequences: 1,
  maxThreads: 1,
};

engineContract("the fake engine", async () => {
  const engine = new FakeEngine();
  await engine.start();
  await engine.load(spec);
  return { engine, spec, kill: () => engine.kill() };
});
