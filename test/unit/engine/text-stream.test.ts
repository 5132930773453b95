import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TextStream } from "../../../src/engine/text-stream.ts";

/** A token is some bytes of UTF-8. */
const stream = () =>
  new TextStream<Uint8Array>((tokens) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Buffer.concat(tokens)));

function pieces(tokens: readonly Uint8Array[]): string[] {
  const text = stream();
  return [...tokens.map((token) => text.push(token)), text.end()];
}

const bytesOf = (text: string) => new TextEncoder().encode(text);

describe("text from tokens", () => {
  test("comes as the tokens come", () => {
    expect(pieces([bytesOf("Par"), bytesOf("is"), bytesOf(".")])).toEqual(["Par", "is", ".", ""]);
  });

  test("never has half a character", () => {
    const [one = 0, two = 0, three = 0] = bytesOf("你");
    const tokens = [Uint8Array.of(one), Uint8Array.of(two), Uint8Array.of(three)];
    expect(pieces(tokens)).toEqual(["", "", "你", ""]);
  });

  test("has no white space at either end, and keeps that between", () => {
    const tokens = ["\n", " Yes", ",", " ", "\n", "no", " ", "\n"].map(bytesOf);
    expect(pieces(tokens)).toEqual(["", "Yes", ",", "", "", " \nno", "", "", ""]);
  });

  test("shows a character that never gets complete as a replacement character", () => {
    expect(pieces([bytesOf("a"), Uint8Array.of(0xe4)]).join("")).toBe("a\uFFFD");
  });

  test("joins to the whole, however it is cut into tokens", () => {
    const text = fc.string({ unit: fc.constantFrom("a", " ", "\n", "é", "你", "👩‍👩‍👧", ".", "\t") });
    fc.assert(
      fc.property(text, fc.array(fc.integer({ min: 1, max: 3 })), (whole, cuts) => {
        const bytes = bytesOf(whole);
        const tokens: Uint8Array[] = [];
        for (let at = 0, cut = 0; at < bytes.length; cut += 1) {
          const length = cuts[cut % Math.max(1, cuts.length)] ?? 1;
          tokens.push(bytes.slice(at, at + length));
          at += length;
        }
        const found = pieces(tokens);
        expect(found.join("")).toBe(whole.trim());
        expect(found.some((piece) => piece.includes("\uFFFD"))).toBe(false);
      }),
    );
  });
});
