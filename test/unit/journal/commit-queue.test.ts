import { expect, test } from "vitest";
import { CommitQueue } from "../../../src/journal/commit-queue.ts";

const turnOfTheLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what is added during a commit shares the next one", async () => {
  const commits: string[][] = [];
  const queue = new CommitQueue<string>({
    commit: async (items) => {
      commits.push(items);
      await turnOfTheLoop();
    },
    between: () => Promise.resolve(),
  });
  const first = [queue.add("a"), queue.add("b")];
  await Promise.resolve().then(() => undefined);
  await Promise.all([...first, queue.add("c"), queue.add("d"), queue.add("e")]);
  expect(commits).toEqual([
    ["a", "b"],
    ["c", "d", "e"],
  ]);
});

test("a commit that fails rejects its own items and not the next", async () => {
  let fails = true;
  const queue = new CommitQueue<string>({
    commit: async () => {
      await turnOfTheLoop();
      if (fails) throw new Error("disk");
    },
    between: () => {
      fails = false;
      return Promise.resolve();
    },
  });
  const refused = [queue.add("a"), queue.add("b")];
  expect((await Promise.allSettled(refused)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await queue.add("c");
});

test("runs what comes between after those who waited were told, and when kicked", async () => {
  const events: string[] = [];
  const queue = new CommitQueue<string>({
    commit: () => turnOfTheLoop(),
    between: async () => {
      await turnOfTheLoop();
      events.push("between");
    },
  });
  void queue.add("a").then(() => events.push("told"));
  await queue.idle();
  queue.kick();
  await queue.idle();
  expect(events).toEqual(["told", "between", "between"]);
});
