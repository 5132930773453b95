import { describe, expect, it } from "vitest";
import { SingleFlight } from "../../../src/work/single-flight.ts";

function latch<T>() {
  let open: (value: T) => void = () => {};
  const promise = new Promise<T>((resolve) => (open = resolve));
  return { promise, open };
}

describe("SingleFlight", () => {
  it("goes on for those who still wait when one leaves, and stops when all have left", async () => {
    const flights = new SingleFlight<string>();
    const { promise, open } = latch<string>();
    const seen: AbortSignal[] = [];
    const start = (signal: AbortSignal) => (seen.push(signal), promise);
    const [one, two] = [new AbortController(), new AbortController()];
    const first = flights.run("key", one.signal, start);
    const second = flights.run("key", two.signal, start);
    one.abort(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    expect(seen.map(({ aborted }) => aborted)).toEqual([false]);
    open("done");
    expect(await second).toBe("done");

    const third = flights.run("key", two.signal, () => latch<string>().promise);
    const fourth = flights.run("key", two.signal, (signal) => (seen.push(signal), promise));
    two.abort(new Error("gone too"));
    await expect(third).rejects.toThrow("gone too");
    await expect(fourth).rejects.toThrow("gone too");
    expect(seen).toHaveLength(1);
  });

  it("starts anew after a run has ended or failed", async () => {
    const flights = new SingleFlight<number>();
    const { signal } = new AbortController();
    let runs = 0;
    await expect(flights.run("key", signal, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await flights.run("key", signal, async () => ++runs)).toBe(1);
    expect(await flights.run("key", signal, async () => ++runs)).toBe(2);
  });
});
