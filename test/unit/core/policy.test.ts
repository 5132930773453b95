import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CHANGE_WINDOW_MS, decideThreads, MOST_CHANGES } from "../../../src/core/policy.ts";
import type { Readings } from "../../../src/core/readings.ts";
import type { Courtesy } from "../../../src/core/route.ts";
import type { SpeedCurve } from "../../../src/core/speed-curve.ts";
import type { StepFeedback, ThreadDecision, ThreadState } from "../../../src/core/thread-state.ts";
import { readingsOf } from "../../fakes/board.ts";

const TWO_CORES: SpeedCurve = { prefill: { 1: 130, 2: 250 }, decode: { 1: 57, 2: 90 } };
const PI_5: SpeedCurve = { prefill: { 1: 93, 2: 174, 3: 233, 4: 290 }, decode: { 1: 32.4, 2: 33.8, 3: 29.4, 4: 27 } };

const EQUAL: SpeedCurve = { prefill: { 1: 255, 2: 470 }, decode: { 1: 138, 2: 141 } };

/** A governor's life in steps of 250 ms: each call of `at` feeds one reading. */
class Life {
  state: ThreadState | undefined;
  nowMs = 0;
  changes: number[] = [];
  readonly courtesy: Courtesy;
  readonly curve: SpeedCurve | undefined;

  constructor(courtesy: Courtesy = "normal", curve?: SpeedCurve) {
    this.courtesy = courtesy;
    this.curve = curve;
  }

  at(part: Partial<Readings>, feedback: StepFeedback[] = []): ThreadDecision {
    this.nowMs += 250;
    const readings = readingsOf({ affinityCores: 2, ...part, atMs: this.nowMs });
    const first = this.state === undefined;
    const { curve, courtesy } = this;
    const decision = decideThreads({ readings, courtesy, curve, feedback, ...(this.state && { state: this.state }) });
    if (!first && decision.changed) this.changes.push(this.nowMs);
    this.state = decision.state;
    return decision;
  }

  during(ms: number, part: Partial<Readings>): ThreadDecision {
    let decision = this.at(part);
    for (let passed = 250; passed < ms; passed += 250) decision = this.at(part);
    return decision;
  }
}

describe("the first decision", () => {
  it.each([
    ["all cores for both phases on a calm board of two", { affinityCores: 2 }, undefined, 2, 2],
    ["two threads to write without a calibration", { affinityCores: 4 }, undefined, 4, 2],
    ["what the calibration found best for each phase", { affinityCores: 4 }, PI_5, 4, 2],
    ["what one neighbour leaves", { affinityCores: 2, foreignCores: 1 }, TWO_CORES, 1, 1],
    ["what one neighbour leaves of four", { affinityCores: 4, foreignCores: 1 }, PI_5, 3, 2],
    ["one thread when neighbours use everything", { affinityCores: 2, foreignCores: 2 }, TWO_CORES, 1, 1],
    ["one thread under a quota of half a core", { affinityCores: 2, quotaCores: 0.5 }, TWO_CORES, 1, 1],
    ["whole cores of a quota", { affinityCores: 4, quotaCores: 2.5 }, undefined, 2, 2],
    ["a thread for half a core where it is worth it", { affinityCores: 2, quotaCores: 1.5 }, TWO_CORES, 2, 2],
    ["no thread for half a core where it is not", { affinityCores: 2, quotaCores: 1.5 }, EQUAL, 2, 1],
    ["no thread for a tenth of a core", { affinityCores: 2, quotaCores: 1.02 }, TWO_CORES, 1, 1],
    ["half the cores of a hot board", { affinityCores: 4, temperatureC: 82 }, PI_5, 2, 2],
  ])("takes %s", (_, part, curve, prefill, decode) => {
    const decision = new Life("normal", curve).at(part);
    expect(decision.threads).toEqual({ prefill, decode });
  });
});

describe("a neighbour", () => {
  it("is given way to in the first reading that shows it, with a reason that names the figures", () => {
    const life = new Life("normal", TWO_CORES);
    life.during(2000, {});
    const decision = life.at({ foreignCores: 0.9 });
    expect(decision.threads).toEqual({ prefill: 1, decode: 1 });
    expect(decision.reason).toBe("1 thread: neighbours use 0.9 of 2 cores");
    expect(decision.cause).toBe("neighbours");
  });

  it("is not given way to while it is only housekeeping", () => {
    const life = new Life("normal", TWO_CORES);
    expect(life.during(20_000, { foreignCores: 0.15 }).threads.decode).toBe(2);
    expect(life.at({ foreignCores: 0.45 }).threads.decode).toBe(2);
  });

  it("that has left gives its core back after two calm seconds and within five", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({});
    life.during(10_000, { foreignCores: 1 });
    const waiting = life.during(2000, {});
    expect(waiting.threads.decode).toBe(1);
    expect(waiting.cause).toBe("recovering");
    expect(life.during(3000, {}).threads.decode).toBe(2);
  });

  it("that works in bursts of a second holds the threads low instead of making them flap", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({});
    for (let burst = 0; burst < 30; burst++) {
      life.during(1000, { foreignCores: 1 });
      life.during(1000, {});
    }
    expect(life.changes).toHaveLength(1);
  });

  it("that returns after every step up is waited for longer each time", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({});
    const lows: number[] = [];
    for (let visit = 0; visit < 3; visit++) {
      life.during(2000, { foreignCores: 1 });
      const from = life.nowMs;
      while (life.at({}).threads.decode === 1) expect(life.nowMs - from).toBeLessThan(60_000);
      lows.push(life.nowMs - from);
    }
    expect(lows[1]).toBeGreaterThan((lows[0] ?? 0) * 1.5);
    expect(lows[2]).toBeGreaterThan((lows[1] ?? 0) * 1.5);
  });
});

describe("courtesy", () => {
  it.each([
    ["low", 0.4, 2],
    ["normal", 0.4, 1],
    ["normal", 0.2, 2],
    ["high", 0.2, 1],
  ] as const)("%s beside %d cores of neighbours takes %d threads", (courtesy, foreignCores, threads) => {
    expect(new Life(courtesy, TWO_CORES).during(5000, { foreignCores }).threads.decode).toBe(threads);
  });

  it("high leaves half of the time to neighbours that want every core, and says so", () => {
    const busy = new Life("high", TWO_CORES).during(2000, { foreignCores: 2 });
    expect(busy.manners.restRatio).toBe(1);
    expect(busy.reason).toBe("1 thread: neighbours use 2.0 of 2 cores, and every batch rests as long as it took");
    expect(new Life("high", TWO_CORES).during(2000, { foreignCores: 1 }).manners.restRatio).toBe(0);
    expect(new Life("normal", TWO_CORES).during(2000, { foreignCores: 2 }).manners.restRatio).toBe(0);
  });

  it.each([
    [0, true],
    [1, true],
    [1.3, false],
    [2, false],
  ])("beside %d cores of neighbours on 2 the threads yield to whoever wakes up: %s", (foreignCores, yielding) => {
    expect(new Life("normal", TWO_CORES).during(5000, { foreignCores }).manners.yielding).toBe(yielding);
  });

  it("does not yield on in the batch that a neighbour has caught on both cores", () => {
    const life = new Life("normal", TWO_CORES);
    expect(life.during(5000, {})).toMatchObject({ threads: { decode: 2 }, manners: { yielding: true } });
    const caught = life.at({ foreignCores: 1 });
    expect(caught).toMatchObject({ threads: { decode: 1 }, manners: { yielding: false } });
    expect(life.during(3000, { foreignCores: 1 }).manners.yielding).toBe(true);
  });

  it("high rests between questions while somebody else is busy, and only then", () => {
    expect(new Life("high").at({ foreignCores: 1 }).pauseMs).toBeGreaterThan(0);
    expect(new Life("high").at({}).pauseMs).toBe(0);
    expect(new Life("normal").at({ foreignCores: 1 }).pauseMs).toBe(0);
  });
});

describe("slow steps", () => {
  const slow: StepFeedback = { phase: "decode", threads: 2, msPerToken: 60, steps: 3 };

  it("lower the threads though no reading shows a neighbour, and say what they took", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({});
    const decision = life.at({}, [slow]);
    expect(decision.threads.decode).toBe(1);
    expect(decision.reason).toBe("1 thread: a token took 60 ms instead of 11 on 2 threads");
  });

  it("hold longer when they come back after the cap has ended", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({});
    life.at({}, [slow]);
    const first = life.state?.slow?.holdMs ?? 0;
    while (life.at({}).threads.decode === 1) expect(life.nowMs).toBeLessThan(60_000);
    life.at({}, [slow]);
    expect(life.state?.slow?.holdMs).toBe(first * 2);
  });

  it.each([
    ["a single slow step", { ...slow, steps: 1 }],
    ["a step at the pace of a longer context", { ...slow, msPerToken: 14, steps: 20 }],
    ["a slow step on one thread", { ...slow, threads: 1, msPerToken: 200 }],
  ])("are not seen in %s", (_, feedback) => {
    const life = new Life("normal", TWO_CORES);
    life.at({});
    expect(life.at({}, [feedback]).threads.decode).toBe(2);
  });

  it("are no news on a hot board", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({ temperatureC: 84 });
    expect(life.at({ temperatureC: 84 }, [slow]).state.slow).toBeUndefined();
  });

  it("prefer the count that is faster, not merely a smaller one", () => {
    const life = new Life("normal", PI_5);
    life.at({ affinityCores: 4 });
    const decision = life.at({ affinityCores: 4 }, [{ phase: "prefill", threads: 4, msPerToken: 6.5, steps: 5 }]);
    // 6.5 ms is slower than 3 and 2 threads are expected to be (4.3 and 5.7 ms) by less than twice its own 3.4 ms.
    expect(decision.threads.prefill).toBe(3);
  });
});

describe("heat and power", () => {
  it("cap at once and release only after half a minute below the lower mark", () => {
    const life = new Life("normal", TWO_CORES);
    life.at({ temperatureC: 60 });
    const hot = life.at({ temperatureC: 81 });
    expect(hot.threads).toEqual({ prefill: 1, decode: 1 });
    expect(hot.reason).toBe("1 thread: the chip has 81 °C");
    expect(hot.pauseMs).toBeGreaterThan(0);
    expect(life.during(60_000, { temperatureC: 77 }).cause).toBe("heat");
    expect(life.during(29_000, { temperatureC: 70 }).cause).toBe("heat");
    expect(life.during(10_000, { temperatureC: 70 }).threads.decode).toBe(2);
  });

  it("under-voltage is named, with what to do", () => {
    const throttle = { underVoltage: true, frequencyCapped: true, throttled: true, softTemperatureLimit: false };
    expect(new Life().at({ throttle }).reason).toContain("use a stronger power supply");
  });
});

describe("whatever happens", () => {
  const step = fc.record({
    foreignCores: fc.double({ min: 0, max: 4, noNaN: true }),
    affinityCores: fc.integer({ min: 1, max: 4 }),
    quotaCores: fc.option(fc.double({ min: 0.1, max: 5, noNaN: true }), { nil: undefined }),
    temperatureC: fc.option(fc.double({ min: 20, max: 95, noNaN: true }), { nil: undefined }),
    repeat: fc.integer({ min: 1, max: 40 }),
    slowMs: fc.option(fc.double({ min: 1, max: 3000, noNaN: true }), { nil: undefined }),
  });
  const curve = fc.constantFrom(undefined, TWO_CORES, PI_5);
  const courtesy = fc.constantFrom<Courtesy>("low", "normal", "high");

  it("threads stay between 1 and the allowed cores, whole ones without a calibration, and a sentence says why", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), curve, courtesy, (steps, speeds, manners) => {
        const life = new Life(manners, speeds);
        for (const { repeat, slowMs, ...part } of steps) {
          const feedback =
            slowMs === undefined ? [] : [{ phase: "decode" as const, threads: 2, msPerToken: slowMs, steps: 5 }];
          for (let i = 0; i < repeat; i++) {
            const { threads, reason } = life.at(part, feedback);
            const allowed = Math.min(part.affinityCores, part.quotaCores ?? Infinity);
            const most = Math.max(1, speeds ? Math.ceil(allowed) : Math.floor(allowed));
            for (const count of [threads.prefill, threads.decode]) {
              expect(Number.isInteger(count)).toBe(true);
              expect(count).toBeGreaterThanOrEqual(1);
              expect(count).toBeLessThanOrEqual(most);
            }
            expect(reason).toMatch(/^\d+ threads?.*: .+/);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("a core that neighbours have left is used again within 20 s, unless the minute has had its changes", () => {
    const visit = fc.record({
      foreignCores: fc.double({ min: 0, max: 4, noNaN: true }),
      repeat: fc.integer({ min: 1, max: 60 }),
    });
    fc.assert(
      fc.property(fc.array(visit, { minLength: 1, maxLength: 40 }), courtesy, (visits, manners) => {
        const life = new Life(manners, TWO_CORES);
        for (const { repeat, foreignCores } of visits) life.during(250 * repeat, { foreignCores });
        const spent = life.changes.filter((at) => at > life.nowMs - CHANGE_WINDOW_MS).length > MOST_CHANGES - 2;
        life.during(spent ? CHANGE_WINDOW_MS : 20_000, {});
        expect(life.at({}).threads).toEqual({ prefill: 2, decode: 2 });
      }),
      { numRuns: 300 },
    );
  });

  it(`no minute sees more than ${MOST_CHANGES} changes`, () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), curve, courtesy, (steps, speeds, manners) => {
        const life = new Life(manners, speeds);
        for (const { repeat, slowMs, ...part } of steps) {
          for (let i = 0; i < repeat; i++) {
            const threads = life.state?.threads.decode ?? 1;
            const feedback = { phase: "decode" as const, threads, msPerToken: slowMs ?? 1, steps: 5 };
            life.at(part, slowMs === undefined ? [] : [feedback]);
          }
        }
        for (const from of life.changes) {
          const within = life.changes.filter((at) => at >= from && at < from + CHANGE_WINDOW_MS);
          expect(within.length).toBeLessThanOrEqual(MOST_CHANGES);
        }
      }),
      { numRuns: 300 },
    );
  });
});
