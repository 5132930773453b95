import { afterEach, describe, expect, test } from "vitest";
import { askCommand, command as ask } from "../../../src/commands/ask.ts";
import { command as classify } from "../../../src/commands/classify.ts";
import type { Command, CommandContext } from "../../../src/commands/command.ts";
import { EmbeddedBroker } from "../../../src/mqtt/embedded-broker.ts";
import { FakeAgent } from "../../fakes/agent.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { freePort } from "../../fixtures/mosquitto.ts";

let cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

async function agentOnBroker() {
  const broker = new EmbeddedBroker({ port: 0 }, new FakeLogger());
  await broker.start();
  cleanups.push(() => broker.stop());
  const agent = new FakeAgent(broker.url, "board");
  await agent.start();
  cleanups.push(() => agent.stop());
  return { agent, url: broker.url };
}

function run(
  command: Command,
  values: CommandContext["values"],
  positionals: string[],
  more: Partial<CommandContext> = {},
) {
  const output = { stdout: "", stderr: "", pieces: [] as string[] };
  const context: CommandContext = {
    values: { device: "board", ...values },
    positionals,
    stdout: (text) => {
      output.stdout += text;
      output.pieces.push(text);
    },
    stderr: (text) => (output.stderr += text),
    json: false,
    signal: new AbortController().signal,
    env: {},
    onHangup: () => {},
    isTty: false,
    ...more,
  };
  return { output, code: command.run(context) };
}

describe("pipit ask", () => {
  test("prints the answer and exits 0", async () => {
    const { agent, url } = await agentOnBroker();
    const values = { broker: url, "max-tokens": "20", "deadline-ms": "5000" };
    const { code, output } = run(ask, values, ["What", "is", "it?"]);
    const asked = await agent.asked.take();
    expect(asked.json).toMatchObject({ text: "What is it?", max_tokens: 20, deadline_ms: 5_000 });
    expect(asked.json["stream"]).toBeUndefined();
    await agent.answer(asked, { text: "A test." });
    expect([await code, output.stdout, output.stderr]).toEqual([0, "A test.\n", ""]);
  });

  test("shows the pieces as they come on a terminal, and then only what is missing", async () => {
    const { agent, url } = await agentOnBroker();
    const { code, output } = run(ask, { broker: url }, ["Count"], { isTty: true });
    const asked = await agent.asked.take();
    await agent.piece(asked, 0, "one ");
    await agent.piece(asked, 1, "two");
    await agent.answer(asked, { text: "one two three" });
    expect(await code).toBe(0);
    expect(output.pieces).toEqual(["one ", "two", " three\n"]);
  });

  test("prints one JSON document with --json, also when refused", async () => {
    const { agent, url } = await agentOnBroker();
    const first = run(ask, { broker: url, stream: true }, ["Q"], { json: true });
    await agent.answer(await agent.asked.take(), { text: "A" });
    expect([await first.code, JSON.parse(first.output.stdout)]).toMatchObject([0, { status: "ok", text: "A" }]);
    const second = run(ask, { broker: url }, ["Q"], { json: true });
    await agent.answer(await agent.asked.take(), { status: "error", error: { code: "busy", message: "full" } });
    expect([await second.code, JSON.parse(second.output.stdout)]).toMatchObject([1, { error: { code: "busy" } }]);
  });

  test("exits 1 with the agent's words when it refuses", async () => {
    const { agent, url } = await agentOnBroker();
    const { code, output } = run(ask, { broker: url }, ["Q"]);
    await agent.answer(await agent.asked.take(), { status: "error", error: { code: "busy", message: "12 wait" } });
    expect([await code, output.stdout, output.stderr]).toEqual([1, "", "busy: 12 wait\n"]);
  });

  test("exits 3 when nobody answers in time", async () => {
    const { url } = await agentOnBroker();
    const { code, output } = run(ask, { broker: url, device: "nobody", "deadline-ms": "300" }, ["Q"]);
    expect(await code).toBe(3);
    expect(output.stderr).toBe("no_answer: no answer from pipit/nobody/ask within 300 ms\n");
  });

  test("exits 69 when the broker cannot be reached, and says why", async () => {
    const broker = `mqtt://127.0.0.1:${await freePort()}`;
    const { code, output } = run(ask, { broker, "deadline-ms": "200" }, ["Q"]);
    expect(await code).toBe(69);
    expect(output.stderr).toMatch(/^unreachable: connect ECONNREFUSED/);
  });

  test.for([
    { values: {}, text: [], says: "there is no text" },
    { values: { "deadline-ms": "soon" }, text: ["Q"], says: "--deadline-ms must be a number from 1" },
    { values: { temperature: "9" }, text: ["Q"], says: "--temperature must be a number from 0 to 5, got 9" },
  ])("exits 64 for $says", async ({ values, text, says }) => {
    const { code, output } = run(ask, values, text);
    expect(await code).toBe(64);
    expect(output.stderr).toContain(says);
  });

  test("cancels the question at the first signal", async () => {
    const { agent, url } = await agentOnBroker();
    const controller = new AbortController();
    const { code } = run(ask, { broker: url, id: "q-5" }, ["Q"], { signal: controller.signal });
    await agent.asked.take();
    controller.abort();
    expect(await code).toBe(1);
    expect(await agent.cancelled.take()).toBe("q-5");
  });

  test("answers here with --local, where that is built in", async () => {
    const local = askCommand((text, options) => {
      options.stream?.("he");
      return Promise.resolve({ id: "l", status: "ok", text: `here: ${text}` } as never);
    });
    expect(Object.keys(local.options)).toContain("local");
    const { code, output } = run(local, { local: true }, ["Q"]);
    expect([await code, output.stdout]).toEqual([0, "here: Q\n"]);
  });
});

describe("pipit classify", () => {
  test("sends the labels and prints the one chosen", async () => {
    const { agent, url } = await agentOnBroker();
    const { code, output } = run(classify, { broker: url, label: ["light", "heating"] }, ["too", "dark"]);
    const asked = await agent.asked.take();
    expect(asked.json).toMatchObject({ text: "too dark", labels: ["light", "heating"] });
    expect(asked.message.topic).toBe("pipit/board/classify");
    await agent.answer(asked, { label: "light" });
    expect([await code, output.stdout]).toEqual([0, "light\n"]);
  });

  test("prints an empty line when the classifier abstains", async () => {
    const { agent, url } = await agentOnBroker();
    const { code, output } = run(classify, { broker: url }, ["hm"]);
    await agent.answer(await agent.asked.take(), { label: null });
    expect([await code, output.stdout]).toEqual([0, "\n"]);
  });
});
