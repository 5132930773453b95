import { describe, expect, test } from "vitest";
import {
  fillTemplate,
  filterFault,
  filtersOverlap,
  matchFilter,
  topicFault,
  topicsOf,
  withoutShare,
} from "../../../src/core/topics.ts";

describe("a topic filter", () => {
  // MQTT 5 §4.7.1 and §4.7.2, with what the wildcards stood for.
  const cases: [filter: string, topic: string, matches: string[] | undefined][] = [
    ["a/b", "a/b", []],
    ["a/b", "a/b/c", undefined],
    ["a/b/c", "a/b", undefined],
    ["a/b", "a/B", undefined],
    ["a/+", "a/b", ["b"]],
    ["a/+", "a", undefined],
    ["a/+", "a/", [""]],
    ["a/+", "a/b/c", undefined],
    ["+/+", "/finance", ["", "finance"]],
    ["/+", "/finance", ["finance"]],
    ["+", "/finance", undefined],
    ["+/b/+", "a/b/c", ["a", "c"]],
    ["sport/#", "sport", [""]],
    ["sport/#", "sport/tennis/player1", ["tennis/player1"]],
    ["sport/#", "sports", undefined],
    ["#", "a/b", ["a/b"]],
    ["+/#", "a/b/c", ["a", "b/c"]],
    ["#", "$SYS/broker", undefined],
    ["+/broker", "$SYS/broker", undefined],
    ["$SYS/#", "$SYS/broker", ["broker"]],
    ["a//b", "a//b", []],
    ["a/+/b", "a//b", [""]],
  ];
  test.each(cases)("%s and %s: %j", (filter, topic, matches) => {
    expect(matchFilter(filter, topic)).toEqual(matches);
  });

  test("of a shared subscription matches by what stands behind the group", () => {
    expect(withoutShare("$share/group/pipit/pool/+/ask")).toBe("pipit/pool/+/ask");
    expect(withoutShare("pipit/ask")).toBe("pipit/ask");
  });

  const faults: [filter: string, fault: RegExp | undefined][] = [
    ["a/+/b/#", undefined],
    ["", /is empty/],
    ["a/#/b", /`#` that is not its last level/],
    ["a/b#", /`#`/],
    ["a/b+", /`\+` inside a level/],
    ["a\u0000", /null/],
    ["é".repeat(32_768), /longer than 65535 bytes/],
    // mosquitto cuts off who publishes these.
    ["a\u0001", /control character/],
    ["a\u0085", /control character/],
    ["a\ufdd0", /no character/],
    ["a\u{1ffff}", /no character/],
    ["a\ud800", /no character/],
    ["a/👩‍👩‍👧/é", undefined],
    ["x/".repeat(199) + "x", undefined],
    ["x/".repeat(200) + "x", /has 201 levels, at most 200/],
  ];
  test.each(faults)("%s is faulty: %s", (filter, fault) => {
    if (fault) expect(filterFault(filter)).toMatch(fault);
    else expect(filterFault(filter)).toBeUndefined();
  });
});

test.each([
  ["a/b", undefined],
  ["a/+", "contains a wildcard"],
  ["a#", "contains a wildcard"],
  ["$a", "begins with `$`"],
  ["", "is empty"],
])("a topic to publish to: %s %s", (topic, fault) => {
  expect(topicFault(topic)).toBe(fault);
});

test.each([
  ["a/b", "a/b", true],
  ["a/b", "a/c", false],
  ["a/+", "+/b", true],
  ["a/+", "a", false],
  ["a/#", "a", true],
  ["a/#", "+/+/c", true],
  ["a/b/+", "a/+", false],
  ["#", "x/y/z", true],
  ["a/+/c", "a/b/d", false],
])("%s and %s overlap: %s", (one, other, overlap) => {
  expect(filtersOverlap(one, other)).toBe(overlap);
  expect(filtersOverlap(other, one)).toBe(overlap);
});

test.each([
  ["out/{1}/{2}", ["a", "b"], "out/a/b"],
  ["out/{2}", ["a"], "out/"],
  ["{1}{1}", ["a"], "aa"],
  ["{0}{x}", ["a"], "{x}"],
  ["{1}", ["{2}", "b"], "{2}"],
  ["{10}", Array.from({ length: 10 }, (_, index) => `${index}`), "9"],
])("the template %s with %j gives %s", (template, matches, topic) => {
  expect(fillTemplate(template, matches)).toBe(topic);
});

test("all topics of an agent lie below its base and device", () => {
  const { base, device, root, request, ...others } = topicsOf("home/pipit", "pi-4");
  expect({ base, device, root }).toEqual({ base: "home/pipit", device: "pi-4", root: "home/pipit/pi-4" });
  for (const topic of [...Object.values(request), ...Object.values(others)]) {
    expect(topic.startsWith("home/pipit/pi-4/")).toBe(true);
  }
});
