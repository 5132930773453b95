// What somebody should know of the board itself: a power supply that is too weak, heat. Each is told when it begins and when
// it is over, and is over only when it has been for a while, so that a flickering bit is no stream of events. Pure.
import type { Readings } from "./readings.ts";
import { heatCapOf } from "./thread-limits.ts";
import type { HeatCap } from "./thread-state.ts";

export type WarningName = "under_voltage" | "heat";

export interface BoardWarning {
  warning: WarningName;
  active: boolean;
  reason: string;
}

/** What holds now; the caps are only their memory of when it was last well. */
export type WarningState = Partial<Record<WarningName, HeatCap>>;

export function boardWarnings(before: WarningState, readings: Readings): { state: WarningState; news: BoardWarning[] } {
  const { temperatureC, throttle, atMs } = readings;
  const underVoltage = throttle?.underVoltage ?? false;
  const none = { frequencyCapped: false, throttled: false, softTemperatureLimit: false };
  const only: Record<WarningName, Readings> = {
    under_voltage: { ...readings, temperatureC: undefined, throttle: { ...none, underVoltage } },
    heat: { ...readings, temperatureC, throttle: { ...none, ...throttle, underVoltage: false }, atMs },
  };
  const state: WarningState = {};
  const news: BoardWarning[] = [];
  for (const [warning, reading] of Object.entries(only) as [WarningName, Readings][]) {
    const [old, now] = [before[warning], heatCapOf(before[warning], reading)];
    if (now) state[warning] = now;
    if (now && !old) news.push({ warning, active: true, reason: now.why });
    if (old && !now) news.push({ warning, active: false, reason: `over: ${old.why}` });
  }
  return { state, news };
}
