import { describe, expect, it } from "vitest";
import { conversation, firstThatFits, promptRoom } from "../../../src/core/session.ts";
import { Sessions } from "../../../src/work/sessions.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { AgentUnderTest, drain } from "../../fixtures/pipeline-agent.ts";
import { routeOf } from "../../fixtures/questions.ts";

const BOUNDS = { max: 8, maxBytes: 100, idleMs: 60_000 };
const route = routeOf();
const of = (sessions: Sessions, sender: string, session: string) => sessions.of({ route, sender, session });

describe("sessions", () => {
  it("belong to their sender: the same name from another one is another conversation", () => {
    const sessions = new Sessions(BOUNDS, new FakeClock());
    of(sessions, "anna", "kitchen")?.add({ asked: "secret", answered: "yes" });
    expect(of(sessions, "berta", "kitchen")?.exchanges).toEqual([]);
    expect(of(sessions, "anna", "kitchen")?.exchanges).toHaveLength(1);
    expect(sessions.of({ route: routeOf({ name: "other" }), sender: "anna", session: "kitchen" })?.exchanges).toEqual(
      [],
    );
  });

  it("are not kept for questions without a name, or where none are wanted", () => {
    expect(new Sessions(BOUNDS, new FakeClock()).of({ route, sender: "anna", session: undefined })).toBeUndefined();
    expect(of(new Sessions({ ...BOUNDS, max: 0 }, new FakeClock()), "anna", "kitchen")).toBeUndefined();
  });

  it("lose their oldest exchanges beyond their bytes, and say how many", () => {
    const session = of(new Sessions(BOUNDS, new FakeClock()), "anna", "kitchen");
    for (let index = 0; index < 5; index += 1) session?.add({ asked: `${index}`.repeat(10), answered: "é".repeat(15) });
    expect(session?.exchanges.map(({ asked }) => asked[0])).toEqual(["3", "4"]);
    expect(session?.lost).toBe(3);
    session?.add({ asked: "x".repeat(200), answered: "" });
    expect(session?.exchanges).toEqual([]);
  });

  it("are forgotten when nobody goes on", () => {
    const clock = new FakeClock();
    const sessions = new Sessions(BOUNDS, clock);
    of(sessions, "anna", "kitchen")?.add({ asked: "a", answered: "b" });
    clock.advance(59_000);
    expect(of(sessions, "anna", "kitchen")?.exchanges).toHaveLength(1);
    clock.advance(60_000);
    of(sessions, "berta", "kitchen");
    expect(sessions.size).toBe(1);
  });

  it("of one sender push out its own before those of others", () => {
    const sessions = new Sessions(BOUNDS, new FakeClock());
    of(sessions, "anna", "kitchen")?.add({ asked: "a", answered: "b" });
    for (let index = 0; index < 50; index += 1) of(sessions, "mallory", `session-${index}`);
    expect(of(sessions, "anna", "kitchen")?.exchanges).toHaveLength(1);
    for (let index = 0; index < 50; index += 1) of(sessions, `sender-${index}`, "one");
    expect(sessions.size).toBe(8);
  });
});

describe("what of a conversation is read", () => {
  const tokens = (each: number, count: number) => (index: number) => Promise.resolve(20 + (count - index) * each);

  it("is all of it as long as it fits", async () => {
    expect(await firstThatFits(0, 4, 100, tokens(20, 4))).toBe(0);
  });

  it("is so much less where it does not that the next turns fit as well", async () => {
    expect(await firstThatFits(0, 10, 100, tokens(20, 10))).toBe(9);
    expect(await firstThatFits(9, 11, 100, tokens(20, 11))).toBe(9);
  });

  it("is nothing where even the last exchange is too long", async () => {
    expect(await firstThatFits(0, 3, 100, tokens(200, 3))).toBe(3);
  });

  it("leaves room for the answer, but never more than a quarter", () => {
    expect(promptRoom(1024, 48)).toBe(976);
    expect(promptRoom(1024, 8000)).toBe(768);
  });

  it("stands between the system text and the question", () => {
    const earlier = [{ asked: "Who?", answered: "Anna." }];
    expect(conversation({ route: { ...route, system: "Be brief." }, context: "c", text: "Where?" }, earlier)).toEqual([
      { role: "system", text: "Be brief." },
      { role: "user", text: "Who?" },
      { role: "assistant", text: "Anna." },
      { role: "user", text: "c\n\nWhere?" },
    ]);
  });
});

describe("questions of a session", () => {
  const texts = (agent: AgentUnderTest) => agent.engine.generated.at(-1)?.turns.map(({ text }) => text);

  it("know what was said before, and the reply says how much of it", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask({ text: "Capital of France?", id: "1", session: "s" });
    await drain();
    await agent.ask({ text: "And its river?", id: "2", session: "s" });
    await drain();
    expect(texts(agent)?.slice(-3)).toEqual(["Capital of France?", "The capital is Paris.", "And its river?"]);
    expect(agent.replies.map(({ session }) => session)).toEqual([
      { name: "s", turns: 0, forgotten: 0 },
      { name: "s", turns: 1, forgotten: 0 },
    ]);
  });

  it("survive the death of the model's process, which reads the conversation again", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask({ text: "Capital of France?", id: "1", session: "s" });
    await drain();
    agent.engine.kill();
    await agent.ask({ text: "And its river?", id: "2", session: "s" });
    await drain();
    expect(texts(agent)).toContain("The capital is Paris.");
    expect(agent.replies[1]).toMatchObject({ session: { turns: 1 } });
  });

  it("remember no answer that was not given", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.pieces = () => {
      throw new Error("broken");
    };
    await agent.ask({ text: "Capital of France?", id: "1", session: "s" });
    await drain();
    agent.engine.pieces = () => ["Yes."];
    await agent.ask({ text: "Again?", id: "2", session: "s" });
    await drain();
    expect(agent.replies[1]).toMatchObject({ status: "ok", session: { turns: 0 } });
  });

  it("without a session know nothing of it, and their replies say nothing of one", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask({ text: "Capital of France?", id: "1" });
    await drain();
    expect(agent.replies[0]).not.toHaveProperty("session");
  });

  it("name it in at most 128 characters", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask({ text: "a", id: "1", session: "s".repeat(129) });
    await agent.ask({ text: "a", id: "2", session: "" });
    await drain();
    expect(agent.replies.map(({ error }) => (error as { message: string }).message)).toEqual([
      "session has 129 characters, 1 to 128 are allowed",
      "session has 0 characters, 1 to 128 are allowed",
    ]);
  });
});
