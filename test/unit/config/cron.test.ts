import { describe, expect, it } from "vitest";
import { cronFault } from "../../../src/config/cron.ts";

describe("cronFault", () => {
  it.each(["* * * * *", "17 3 * * *", "*/5 0-6 1,15 jan-mar mon", "0 0 * * 7", "0 12 * DEC sun,6"])(
    "accepts %j",
    (expression) => {
      expect(cronFault(expression)).toBeUndefined();
    },
  );

  it.each([
    ["", "5 fields, has 1"],
    ["* * * *", "5 fields, has 4"],
    ["60 * * * *", "wrong minute"],
    ["* 24 * * *", "wrong hour"],
    ["* * 0 * *", "wrong day of month"],
    ["* * * foo *", "wrong month"],
    ["* * * * 8", "wrong day of week"],
    ["*/0 * * * *", "wrong minute"],
    ["5-1 * * * *", "wrong minute"],
    ["1,,2 * * * *", "wrong minute"],
  ])("refuses %j", (expression, fault) => {
    expect(cronFault(expression)).toContain(fault);
  });
});
