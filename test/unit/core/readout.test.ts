import { describe, expect, it } from "vitest";
import { READOUT_DIMENSIONS, readoutPage, readoutTokens, readoutVector } from "../../../src/core/readout.ts";

describe("readout", () => {
  it.each([49_152, 262_144])("spreads its places evenly over a vocabulary of %i", (vocabulary) => {
    const tokens = readoutTokens(vocabulary);
    expect(tokens).toHaveLength(READOUT_DIMENSIONS);
    expect(new Set(tokens).size).toBe(READOUT_DIMENSIONS);
    const gaps = tokens.slice(1).map((token, index) => token - tokens[index]!);
    expect(Math.max(...gaps) - Math.min(...gaps)).toBeLessThanOrEqual(1);
    expect(tokens.at(-1)).toBeLessThan(vocabulary);
  });

  it("takes a smaller vocabulary whole", () => {
    expect(readoutTokens(4)).toEqual([0, 1, 2, 3]);
  });

  it("is the same whatever is added to all logits", () => {
    expect(readoutVector([1, 2, 6])).toEqual(readoutVector([101, 102, 106]));
  });

  it("names the labels before the sentence, so that only the end of the page changes", () => {
    const labels = [{ name: "lights" }, { name: "media" }];
    const [one, other] = [readoutPage(labels, "lamp on"), readoutPage(labels, "louder")];
    const prefix = one.slice(0, one.indexOf("lamp on"));
    expect(prefix).toContain("lights, media");
    expect(other.startsWith(prefix)).toBe(true);
  });

  it("keeps a sentence on its line", () => {
    const page = readoutPage([{ name: "a" }], 'one\n\nThis sentence: "two');
    expect(page.split("\n")).toHaveLength(2);
  });
});
