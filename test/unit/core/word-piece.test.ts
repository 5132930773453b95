import { describe, expect, it } from "vitest";
import { WordPiece } from "../../../src/core/word-piece.ts";
import { bertReference } from "../../fixtures/bert-directory.ts";

const inGguf = (token: string) =>
  /^\[[A-Z]+\]$/.test(token) ? token : token.startsWith("##") ? token.slice(2) : `\u2581${token}`;

describe("word pieces", async () => {
  const { vocabulary, texts, ids } = await bertReference();
  const tokenizer = new WordPiece({
    tokens: vocabulary.map(inGguf),
    unknownId: 1,
    lowercase: true,
    stripAccents: true,
  });

  it.each(texts.map((text, i) => [text, ids[i]]))("of %j are those of the reference", (text, expected) => {
    expect([2, ...tokenizer.encode(text as string), 3]).toEqual(expected);
  });

  it("keep case and accents where the model does", () => {
    const cased = new WordPiece({
      tokens: ["[UNK]", "\u2581É", "teins", "\u2581éteins"],
      unknownId: 0,
      lowercase: false,
      stripAccents: false,
    });
    expect(cased.encode("Éteins éteins")).toEqual([1, 2, 3]);
  });

  it("never take a later piece for the beginning of a word, nor the other way round", () => {
    const strict = new WordPiece({
      tokens: ["[UNK]", "\u2581a", "b"],
      unknownId: 0,
      lowercase: true,
      stripAccents: true,
    });
    expect(strict.encode("ab b aa")).toEqual([1, 2, 0, 0]);
  });
});
