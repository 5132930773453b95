import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { QuestionQueue } from "../../../src/core/question-queue.ts";
import type { Question } from "../../../src/core/request.ts";
import { questionOf, routeOf } from "../../fixtures/questions.ts";

function waiting(id: string, more: { priority?: number; sender?: string; arrivedMs?: number } = {}): Question {
  const { priority = 5, sender = "r", arrivedMs = 0 } = more;
  return questionOf({ id, priority, reply_to: sender }, { message: { arrivedMs } });
}

function line(...questions: Question[]): QuestionQueue {
  const queue = new QuestionQueue(100);
  for (const question of questions) queue.push(question);
  return queue;
}

function order(queue: QuestionQueue, nowMs = 0): string[] {
  const ids: string[] = [];
  for (let next = queue.take(nowMs); next; next = queue.take(nowMs)) ids.push(next.id);
  return ids;
}

describe("the line of questions", () => {
  test("gives the oldest first among equals", () => {
    const queue = line(waiting("b", { arrivedMs: 2 }), waiting("a", { arrivedMs: 1 }), waiting("c", { arrivedMs: 3 }));
    expect(order(queue, 3)).toEqual(["a", "b", "c"]);
  });

  test("gives a higher priority first", () => {
    const queue = line(waiting("low", { priority: 0 }), waiting("high", { priority: 9 }), waiting("mid"));
    expect(order(queue)).toEqual(["high", "mid", "low"]);
  });

  test("gives senders turns, however many questions one has", () => {
    const queue = line(
      waiting("a1", { sender: "a" }),
      waiting("a2", { sender: "a" }),
      waiting("a3", { sender: "a" }),
      waiting("b1", { sender: "b", arrivedMs: 5 }),
      waiting("c1", { sender: "c", arrivedMs: 9 }),
    );
    expect(order(queue, 10)).toEqual(["a1", "b1", "c1", "a2", "a3"]);
  });

  test("lets a question of low priority overtake a stream of higher ones once it has waited long", () => {
    const queue = line(waiting("patient", { priority: 0 }));
    let servedAtMs: number | undefined;
    for (let nowMs = 0; servedAtMs === undefined; nowMs += 1000) {
      queue.push(waiting(`urgent ${nowMs}`, { priority: 5, arrivedMs: nowMs, sender: "other" }));
      if (queue.take(nowMs)?.id === "patient") servedAtMs = nowMs;
    }
    // One step of priority for each twentieth of its 60 s; five steps to catch up.
    expect(servedAtMs).toBe(15_000);
  });

  test("ages a question with much time by 15 s a step", () => {
    const hour = { message: { arrivedMs: 0 }, route: routeOf({ deadlineMs: 3_600_000 }) };
    const queue = line(questionOf({ id: "slow", priority: 4, reply_to: "a" }, hour));
    queue.push(waiting("later", { arrivedMs: 14_999, sender: "b" }));
    expect(order(queue, 14_999)).toEqual(["later", "slow"]);
    queue.push(questionOf({ id: "slow", priority: 4, reply_to: "c" }, hour));
    queue.push(waiting("later", { arrivedMs: 15_000, sender: "d" }));
    expect(order(queue, 15_000)).toEqual(["slow", "later"]);
  });

  test("does not let a crowd that has aged keep a fresh question of the highest priority waiting", () => {
    const queue = line(...Array.from({ length: 30 }, (_, index) => waiting(`batch ${index}`, { priority: 0 })));
    expect(queue.take(50_000)?.id).toBe("batch 0");
    queue.push(waiting("urgent", { priority: 9, arrivedMs: 50_000, sender: "other" }));
    expect(queue.take(50_000)?.id).toBe("urgent");
  });

  test("says what it removed", () => {
    const queue = line(waiting("a"), waiting("b"), waiting("c"));
    expect(queue.remove(({ id }) => id !== "b").map(({ id }) => id)).toEqual(["a", "c"]);
    expect(order(queue)).toEqual(["b"]);
  });

  test("gives back everything that was put in, once, and never a lower priority before a higher one of the same age", () => {
    const question = fc.record({ priority: fc.nat({ max: 9 }), sender: fc.constantFrom("a", "b", "c") });
    fc.assert(
      fc.property(fc.array(question, { maxLength: 30 }), (questions) => {
        const queue = line(...questions.map((more, index) => waiting(`${index}`, more)));
        const ids = order(queue);
        expect([...ids].sort()).toEqual(questions.map((_, index) => `${index}`).sort());
        const priorities = ids.map((id) => questions[Number(id)]?.priority ?? 0);
        expect(priorities).toEqual([...priorities].sort((one, other) => other - one));
      }),
    );
  });

  test("lets no sender wait for more than one question of each other sender of its priority", () => {
    const senders = fc.array(fc.constantFrom("a", "b", "c", "d"), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(senders, (asked) => {
        const queue = line(...asked.map((sender, index) => waiting(`${index}`, { sender })));
        const served = order(queue).map((id) => asked[Number(id)] ?? "");
        for (const sender of new Set(asked)) {
          const before = served.slice(0, served.indexOf(sender));
          for (const other of new Set(before)) expect(before.filter((one) => one === other)).toHaveLength(1);
        }
      }),
    );
  });
});
