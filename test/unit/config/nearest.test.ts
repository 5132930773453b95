import { describe, expect, it } from "vitest";
import { editDistance, nearest } from "../../../src/config/nearest.ts";

describe("editDistance", () => {
  it.each([
    ["", "", 0],
    ["abc", "abc", 0],
    ["", "abc", 3],
    ["kitten", "sitting", 3],
    ["url", "ulr", 1],
    ["brokr", "broker", 1],
  ])("from %j to %j is %i", (from, to, distance) => {
    expect(editDistance(from, to)).toBe(distance);
    expect(editDistance(to, from)).toBe(distance);
  });
});

describe("nearest", () => {
  const known = ["url", "username", "password_file", "keepalive_s", "max_tokens", "max_bytes", "max_payload_bytes"];

  it.each([
    ["ulr", "url"],
    ["user_name", "username"],
    ["pasword", "password_file"],
    ["keep_alive", "keepalive_s"],
    ["maxTokens", "max_tokens"],
    ["MAX-TOKENS", "max_tokens"],
    ["payload_bytes", "max_payload_bytes"],
    ["max_byte", "max_bytes"],
  ])("of %j is %j", (name, expected) => {
    expect(nearest(name, known)).toBe(expected);
  });

  it.each(["", "zzz", "temperature"])("of %j is none", (name) => {
    expect(nearest(name, known)).toBeUndefined();
  });
});
