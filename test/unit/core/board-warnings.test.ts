import { expect, it } from "vitest";
import { type BoardWarning, boardWarnings, type WarningState } from "../../../src/core/board-warnings.ts";
import type { Readings } from "../../../src/core/readings.ts";
import { readingsOf } from "../../fakes/board.ts";

const bits = (underVoltage: boolean, throttled = false) => ({
  throttle: { underVoltage, throttled, frequencyCapped: false, softTemperatureLimit: false },
});

function told(
  samples: [second: number, part: Partial<Readings>][],
): [second: number, warning: string, active: boolean][] {
  let state: WarningState = {};
  return samples.flatMap(([second, part]) => {
    const next = boardWarnings(state, readingsOf({ ...part, atMs: second * 1000 }));
    state = next.state;
    return next.news.map(({ warning, active }: BoardWarning): [number, string, boolean] => [second, warning, active]);
  });
}

it("a weak power supply is told once however its bit flickers, and its end only after half a minute", () => {
  const flicker = Array.from({ length: 20 }, (_, second): [number, Partial<Readings>] => [
    second,
    bits(second % 2 === 0),
  ]);
  const calm = [25, 45, 50, 90].map((second): [number, Partial<Readings>] => [second, bits(false)]);
  expect(told([...flicker, ...calm])).toEqual([
    [0, "under_voltage", true],
    [50, "under_voltage", false],
  ]);
});

it("heat and a weak supply are told apart", () => {
  expect(
    told([
      [0, { ...bits(true), temperatureC: 50 }],
      [2, { ...bits(true), temperatureC: 84 }],
      [40, { ...bits(false), temperatureC: 78 }],
      [80, { ...bits(false), temperatureC: 70 }],
      [120, { ...bits(false), temperatureC: 60 }],
    ]),
  ).toEqual([
    [0, "under_voltage", true],
    [2, "heat", true],
    [80, "under_voltage", false],
    [120, "heat", false],
  ]);
});

it("names the reason in words", () => {
  const { news } = boardWarnings({}, readingsOf(bits(true)));
  expect(news[0]?.reason).toBe("the supply voltage is too low, use a stronger power supply");
});

it("a board that tells nothing is warned about nothing", () => {
  expect(boardWarnings({}, readingsOf())).toEqual({ state: {}, news: [] });
});
