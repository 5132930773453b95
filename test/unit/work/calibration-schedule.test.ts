import { expect, it, vi } from "vitest";
import { CalibrationSchedule } from "../../../src/work/calibration-schedule.ts";

it("refuses what is not a cron expression, and names it", () => {
  expect(() => new CalibrationSchedule("at night", () => {})).toThrow(/"at night" is not a cron expression/);
});

it("makes the calibration due at its time, and never after stop", async () => {
  vi.useFakeTimers({ now: new Date(2026, 10, 24, 3, 29, 0) });
  try {
    let due = 0;
    const schedule = new CalibrationSchedule("30 3 * * *", () => void due++);
    schedule.start();
    schedule.start();
    await vi.advanceTimersByTimeAsync(90_000);
    expect(due).toBe(1);
    await schedule.stop();
    await vi.advanceTimersByTimeAsync(25 * 3600_000);
    expect(due).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
