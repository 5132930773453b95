import { describe, expect, test } from "vitest";
import { digest, shortened } from "../../../src/core/digest.ts";
import { senderFault, senderOf } from "../../../src/core/sender.ts";
import { messageOf } from "../../fixtures/questions.ts";

describe("the sender of a message", () => {
  const message = messageOf("a", {
    topic: "ask/anna/kitchen/lamp",
    userProperties: { user: "bob", twice: ["x", "y"], none: [] as string[] },
  });
  test.each([
    ["reply_topic", "my/replies"],
    ["property:user", "bob"],
    ["property:twice", "x"],
    ["property:none", ""],
    ["property:unknown", ""],
    ["property:__proto__", ""],
    ["property:constructor", ""],
    ["{1}", "anna"],
    ["{2}", "kitchen/lamp"],
    ["{2}@{1}", "kitchen/lamp@anna"],
  ])("by %s is %j", (rule, sender) => {
    expect(senderOf(rule, message, "$share/g/ask/+/#", "my/replies")).toBe(sender);
  });

  test("is empty without any property", () => {
    expect(senderOf("property:user", messageOf("a"), "ask", "r")).toBe("");
  });

  test("has a bounded name that still tells long ones apart", () => {
    const [one, other] = ["x", "y"].map((last) => senderOf("reply_topic", message, "#", "t".repeat(60_000) + last));
    expect(one).toHaveLength(160);
    expect(one).not.toBe(other);
  });
});

describe("a rule for senders", () => {
  test.each([
    ["reply_topic", undefined],
    ["property:sender", undefined],
    ["{1}/{2}", undefined],
    ["property:", "names no user property after `property:`"],
    ["me", "must be reply_topic, property:<name>, or name a wildcard such as {1}"],
    ["{0}", "counts wildcards from {1}"],
    ["{3}", "names {3}, but the topic filter has only 2 of + and #"],
  ])("%s: %s", (rule, fault) => {
    expect(senderFault(rule, 2)).toBe(fault);
  });
});

test("short texts stay what they are, long ones become their beginning and a digest", () => {
  expect(shortened("a".repeat(32), 32)).toBe("a".repeat(32));
  expect(shortened("a".repeat(33), 32)).toBe(`${"a".repeat(15)} ${digest(new TextEncoder().encode("a".repeat(33)))}`);
});
