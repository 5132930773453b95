// The line that `systemctl status` shows.
import { describe, expect, it } from "vitest";
import { summaryLine } from "../../../src/work/state.ts";

const online = { state: "online" as const, connects: 1 };

describe("the summary", () => {
  it.each([
    ["loading", { state: "loading" as const, name: "smol" }, online, true, "loading smol; on the bus"],
    ["running", { state: "ready" as const, name: "smol" }, online, true, "smol ready, 1 thread; on the bus"],
    [
      "waiting for a broker",
      { state: "unloaded" as const, reason: "idle" },
      { state: "offline" as const, connects: 0, reason: "connection refused" },
      true,
      "no model: idle; waiting for the broker (connection refused)",
    ],
    [
      "a full disk",
      { state: "loading" as const, name: "smol" },
      online,
      false,
      "the journal cannot be written (disk full?); loading smol; on the bus",
    ],
  ])("says what it is doing: %s", (_what, model, link, writable, line) => {
    expect(summaryLine({ model, threads: 1, link, writable })).toBe(line);
  });
});
