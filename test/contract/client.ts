// What `pipit/client` promises its users, on any broker.
import { afterEach, describe, expect, test } from "vitest";
import { createPipitClient } from "../../src/mqtt/client.ts";
import type { PipitClientOptions } from "../../src/mqtt/client.ts";
import { FakeAgent } from "../fakes/agent.ts";
import { FakeClock } from "../fakes/clock.ts";
import { freePort } from "../fixtures/mosquitto.ts";
import { TcpProxy } from "../fixtures/tcp-proxy.ts";

export interface BrokerUnderTest {
  port: number;
  protocol: 4 | 5;
  stop(): Promise<void>;
}

export function clientContract(name: string, startBroker: () => Promise<BrokerUnderTest>): void {
  describe(name, () => {
    let cleanups: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const cleanup of cleanups.reverse()) await cleanup();
      cleanups = [];
    });

    async function setUp(options: Partial<PipitClientOptions> = {}) {
      const broker = await startBroker();
      cleanups.push(() => broker.stop());
      const agent = new FakeAgent(`mqtt://127.0.0.1:${broker.port}`, "board");
      await agent.start();
      cleanups.push(() => agent.stop());
      const proxy = new TcpProxy(broker.port, await freePort());
      await proxy.open();
      cleanups.push(() => proxy.close());
      const client = createPipitClient({
        url: `mqtt://127.0.0.1:${proxy.port}`,
        device: "board",
        backoff: { minMs: 5, maxMs: 20 },
        ...options,
      });
      cleanups.push(() => client.close());
      return { broker, agent, proxy, client };
    }

    test("asks with everything it was told, and resolves with the answer", async () => {
      const { agent, broker, client } = await setUp();
      const answer = client.ask("What is the capital of France?", {
        id: "q-1",
        deadlineMs: 5_000,
        maxTokens: 20,
        temperature: 0,
        session: "kitchen",
        context: "Be brief.",
        priority: 7,
      });
      const asked = await agent.asked.take();
      expect(asked.message.topic).toBe("pipit/board/ask");
      expect(asked.json).toEqual({
        text: "What is the capital of France?",
        id: "q-1",
        reply_to: asked.replyTopic,
        deadline_ms: 5_000,
        context: "Be brief.",
        priority: 7,
        max_tokens: 20,
        temperature: 0,
        session: "kitchen",
      });
      expect(asked.replyTopic).toMatch(/^pipit\/client\/pipit-client-[0-9a-f]{20}\/reply$/);
      if (broker.protocol === 5) {
        expect(asked.message).toMatchObject({ responseTopic: asked.replyTopic, correlationData: Buffer.from("q-1") });
        expect(asked.message.expirySeconds).toBe(5);
      }
      await agent.answer(asked, { task: "answer", text: "Paris.", finish: "stop" });
      expect(await answer).toMatchObject({ id: "q-1", status: "ok", text: "Paris." });
    });

    test("classifies and extracts on their own topics", async () => {
      const { agent, client } = await setUp();
      const label = client.classify("It is too dark.", {
        labels: ["light", { name: "heating", description: "warmth" }],
      });
      const first = await agent.asked.take();
      expect(first.message.topic).toBe("pipit/board/classify");
      expect(first.json["labels"]).toEqual(["light", { name: "heating", description: "warmth" }]);
      await agent.answer(first, { task: "classify", label: "light", confidence: 0.9 });
      expect((await label).label).toBe("light");
      const record = client.extract("Anna is 7.", { schema: { type: "object" } });
      const second = await agent.asked.take();
      expect([second.message.topic, second.json["schema"]]).toEqual(["pipit/board/extract", { type: "object" }]);
      await agent.answer(second, { task: "extract", record: { age: 7 } });
      expect((await record).record).toEqual({ age: 7 });
    });

    test("keeps the answers of simultaneous questions apart", async () => {
      const { agent, client } = await setUp();
      const answers = ["one", "two", "three"].map((text) => client.ask(text));
      const asked = [await agent.asked.take(), await agent.asked.take(), await agent.asked.take()];
      for (const question of asked.reverse())
        await agent.answer(question, { text: `${String(question.json["text"])}!` });
      expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(["one!", "two!", "three!"]);
    });

    test("streams the pieces in order, each once", async () => {
      const { agent, client } = await setUp();
      const pieces: string[] = [];
      const answer = client.ask("Count.", { stream: (piece) => pieces.push(piece) });
      const asked = await agent.asked.take();
      expect(asked.json["stream"]).toBe(true);
      await agent.piece(asked, 0, "one ");
      await agent.piece(asked, 1, "two ");
      await agent.piece(asked, 0, "one ");
      await agent.piece(asked, 2, "three", true);
      await agent.answer(asked, { text: "one two three" });
      expect((await answer).text).toBe(pieces.join(""));
      expect(pieces).toEqual(["one ", "two ", "three"]);
    });

    test("asks again with the same bytes until it is answered, and takes one of two replies", async () => {
      const clock = new FakeClock();
      const { agent, client } = await setUp({ clock, repeatAfterMs: 1_000 });
      const answer = client.ask("Again?", { deadlineMs: 60_000 });
      const first = await agent.asked.take();
      clock.advance(1_000);
      const second = await agent.asked.take();
      clock.advance(2_000);
      const third = await agent.asked.take();
      expect(second.message.payload).toEqual(first.message.payload);
      expect(third.message.payload).toEqual(first.message.payload);
      await agent.answer(first, { text: "once" });
      await agent.answer(third, { text: "twice" });
      expect((await answer).text).toBe("once");
      const next = client.ask("Next?");
      await agent.answer(await agent.asked.take(), { text: "next" });
      expect((await next).text).toBe("next");
    });

    test("asks again at once when the connection is back", async () => {
      const { agent, client, proxy } = await setUp();
      const answer = client.ask("Still there?");
      const first = await agent.asked.take();
      await proxy.close();
      // Published to nobody: the client is away and keeps no session.
      await agent.answer(first, { text: "lost" });
      await proxy.open();
      const second = await agent.asked.take();
      expect(second.message.payload).toEqual(first.message.payload);
      await agent.answer(second, { text: "here" });
      expect((await answer).text).toBe("here");
    });

    test("sends a question that was asked before there was a broker", async () => {
      const { agent, client, proxy } = await setUp();
      await client.connected(5_000);
      await proxy.close();
      const answer = client.ask("Early?");
      await proxy.open();
      await agent.answer(await agent.asked.take(), { text: "yes" });
      expect((await answer).text).toBe("yes");
    });

    test("rejects with the agent's code when it refuses", async () => {
      const { agent, client } = await setUp();
      const error = { code: "busy", message: "12 questions wait", retry_after_ms: 4_000 };
      const expected = { kind: "request", code: "busy", retryAfterMs: 4_000, reply: { error } };
      // Waited for before the agent refuses: nobody may find the rejection unhandled.
      const refused = expect(client.ask("Too much?")).rejects.toMatchObject(expected);
      await agent.answer(await agent.asked.take(), { status: "error", error });
      await refused;
    });

    test("understands routes that answer in bare text", async () => {
      const { agent, broker, client } = await setUp();
      const label = client.classify("dark", { topic: "home/hall/ask" });
      const first = await agent.asked.take();
      expect(first.message.topic).toBe("home/hall/ask");
      await agent.say(first.replyTopic, "light", first.message);
      expect(await label).toMatchObject({ status: "ok", label: "light", text: "light" });
      const asking = client.ask("x".repeat(10), { topic: "home/hall/ask" });
      const refused = expect(asking).rejects.toMatchObject({ code: "too_long", message: "10 characters" });
      const second = await agent.asked.take();
      const properties = broker.protocol === 5 ? { status: "error", code: "too_long" } : undefined;
      await agent.say(second.replyTopic, "error: too_long: 10 characters", second.message, properties);
      await refused;
    });

    test("gives up at the deadline: no_answer if the broker had taken the question, else unreachable", async () => {
      const clock = new FakeClock();
      const { agent, client, proxy } = await setUp({ clock });
      const silent = client.ask("Anybody?", { deadlineMs: 3_000 });
      const silence = expect(silent).rejects.toMatchObject({ kind: "transient", code: "no_answer" });
      await agent.asked.take();
      // The broker's acknowledgement comes before the answer to a later question.
      const later = client.ask("Later?");
      await agent.answer(await agent.asked.take(), { text: "yes" });
      await later;
      clock.advance(3_000);
      await silence;
      await proxy.close();
      await expect.poll(() => client.status.state).not.toBe("online");
      const cut = client.ask("Anybody?", { deadlineMs: 3_000 });
      const failure = expect(cut).rejects.toMatchObject({ kind: "transient", code: "unreachable" });
      clock.advance(3_000);
      await failure;
    });

    test("an aborted question is cancelled at the agent", async () => {
      const { agent, client } = await setUp();
      const controller = new AbortController();
      const answer = client.ask("Never mind", { id: "q-9", signal: controller.signal });
      const rejected = expect(answer).rejects.toThrow("changed my mind");
      await agent.asked.take();
      controller.abort(new Error("changed my mind"));
      await rejected;
      expect(await agent.cancelled.take()).toBe("q-9");
    });

    test("rejects what is open when it is closed, and takes no more", async () => {
      const { agent, client } = await setUp();
      const answer = client.ask("Open?");
      const rejected = expect(answer).rejects.toMatchObject({ code: "closed" });
      await agent.asked.take();
      await client.close();
      await rejected;
      await client.close();
      await expect(client.ask("More?")).rejects.toMatchObject({ code: "closed" });
    });

    test("refuses an id that is still open", async () => {
      const { agent, client } = await setUp();
      const answer = client.ask("One", { id: "q" });
      await expect(client.ask("Two", { id: "q" })).rejects.toMatchObject({ code: "bad_request" });
      await agent.answer(await agent.asked.take(), { text: "one" });
      expect((await answer).text).toBe("one");
    });
  });
}
