import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { KnownFilters } from "../../../src/mqtt/known-filters.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { temporaryDirectory } from "../../fixtures/temporary-directory.ts";

test("a filter stays known until it was taken back, and nothing is written where nothing changes", async () => {
  const path = join(await temporaryDirectory(), "state", "subscriptions.json");
  const known = () => new KnownFilters(path, new FakeLogger());
  expect(known().add(["a", "b"])).toEqual([]);
  const { ino } = statSync(path);
  expect(known().add(["b", "a"])).toEqual([]);
  expect(known().add(["a"])).toEqual(["b"]);
  expect(statSync(path).ino).toBe(ino);
  expect(known().add(["c"])).toEqual(["a", "b"]);
  expect(known().add(["c"])).toEqual(["a", "b"]);
  known().settle(["c"]);
  expect(known().add(["c"])).toEqual([]);
});

test.each(["", "{", "7", "null", '{"filters":7}', '{"filters":[7,null]}'])(
  "a file with %j is none",
  async (content) => {
    const path = join(await temporaryDirectory(), "subscriptions.json");
    writeFileSync(path, content);
    const known = new KnownFilters(path, new FakeLogger());
    expect(known.add(["a"])).toEqual([]);
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ filters: ["a"] });
  },
);

test("a disk that takes nothing is said, and costs nothing else; without a path nothing is known", async () => {
  const path = join(await temporaryDirectory(), "subscriptions.json");
  mkdirSync(`${path}.new`);
  const logger = new FakeLogger();
  expect(new KnownFilters(path, logger).add(["a"])).toEqual([]);
  expect(logger.lines).toMatchObject([{ level: "warn", message: "the subscriptions were not noted" }]);
  const nowhere = new KnownFilters(undefined, logger);
  nowhere.settle(["a"]);
  expect(nowhere.add([])).toEqual([]);
});
