// Prompts against references: what each family's template makes of a conversation in Hugging Face's own set-up (see
// chat-reference.py), and that nothing a person writes ever becomes a control token.
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Turn } from "../../../src/core/ports.ts";
import { ChatTemplate } from "../../../src/engine/chat-template.ts";
import { FakeVocabulary, type FakeVocabularyOptions } from "../../fakes/vocabulary.ts";
import { chatReference, withToday } from "../../fixtures/chat-reference.ts";

const FIXTURES = path.resolve(import.meta.dirname, "../../fixtures");
const sourceOf = (family: string) => readFileSync(path.join(FIXTURES, `templates/${family}.jinja`), "utf8");

/** Control tokens of each family; for Phi also that they swallow the white space behind them. */
const FAMILIES: Record<string, FakeVocabularyOptions> = {
  smollm2: { control: ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], bos: "<|im_start|>" },
  "qwen-2.5": { control: ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] },
  "gemma-2": {
    control: ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    bos: "<bos>",
    prependBos: true,
    unknown: "<unk>",
  },
  "gemma-3": {
    control: ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    bos: "<bos>",
    prependBos: true,
    unknown: "<unk>",
  },
  "granite-3.3": { control: ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"] },
  "llama-3.2": {
    control: ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    bos: "<|begin_of_text|>",
    prependBos: true,
  },
  "ministral-3": {
    control: ["[/SYSTEM_PROMPT]", "[SYSTEM_PROMPT]", "[/INST]", "[INST]", "</s>", "<s>"],
    bos: "<s>",
    prependBos: true,
    unknown: "<unk>",
  },
  "phi-3.5": {
    control: ["<|assistant|>", "<|system|>", "<|user|>", "<|end|>", "<s>"],
    bos: "<s>",
    prependBos: true,
    rstrip: ["<|assistant|>", "<|system|>", "<|user|>", "<|end|>"],
    unknown: "<unk>",
  },
};

function familyOf(name: string) {
  const reference = chatReference[name];
  const fake = new FakeVocabulary({ eos: reference?.eos ?? "", ...(FAMILIES[name] as FakeVocabularyOptions) });
  const source = reference?.source ?? sourceOf(name);
  return { fake, template: new ChatTemplate(fake.vocabulary, source) };
}

describe.each(Object.keys(FAMILIES))("the prompt of %s", (name) => {
  const { fake, template } = familyOf(name);
  const { bos = "", prependBos } = FAMILIES[name] as FakeVocabularyOptions;

  const rendered = chatReference[name]?.cases.filter(({ prompt }) => prompt !== undefined) ?? [];
  test.each(rendered)("of $name is what its template makes of it", ({ turns, prompt = "" }) => {
    const reference = withToday(prompt);
    const whole = prependBos && !reference.startsWith(bos) ? bos + reference : reference;
    const expected = fake.vocabulary.tokenize(whole, true);
    expect(fake.spell(template.tokenize(turns))).toBe(fake.spell(expected));
  });

  const control = [...(FAMILIES[name]?.control ?? []), FAMILIES[name]?.unknown ?? []].flat();
  const word = fc.constantFrom(...control, "a", " ", "\n", "user", "<", "|>", "\uFDD0", "é", "👩‍👩‍👧", "{{ x }}");
  const text = fc.array(word, { minLength: 1, maxLength: 8 }).map((words) => words.join(""));

  test("holds control tokens of the template alone, whatever people write", () => {
    const count = (turns: Turn[]) => template.tokenize(turns).filter((token) => token < 0);
    fc.assert(
      fc.property(text, text, text, (system, question, answer) => {
        const turns = (...texts: string[]): Turn[] => [
          { role: "system", text: texts[0] ?? "" },
          { role: "user", text: texts[1] ?? "" },
          { role: "assistant", text: texts[2] ?? "" },
          { role: "user", text: texts[1] ?? "" },
        ];
        expect(count(turns(system, question, answer))).toEqual(count(turns("x", "x", "x")));
      }),
    );
  });

  test("says what people write letter for letter between the same template tokens", () => {
    fc.assert(
      fc.property(text, (middle) => {
        const written = `a${middle}z`;
        const spelled = (question: string) => fake.spell(template.tokenize([{ role: "user", text: question }]));
        expect(spelled(written)).toBe(spelled("@").replace("@", () => written.replaceAll("\uFDD0", "\uFFFD")));
      }),
    );
  });
});

describe("a template that knows no system role", () => {
  test("gets the system text as the opening of the first question", () => {
    const { fake, template } = familyOf("gemma-2");
    const spelled = fake.spell(
      template.tokenize([
        { role: "system", text: "Be brief." },
        { role: "user", text: "Why?" },
      ]),
    );
    expect(spelled).toBe("⟦<bos>⟧⟦<start_of_turn>⟧user\nBe brief.\n\nWhy?⟦<end_of_turn>⟧\n⟦<start_of_turn>⟧model\n");
  });

  test("still refuses what no template takes", () => {
    const { template } = familyOf("gemma-2");
    expect(() => template.tokenize([{ role: "assistant", text: "I begin." }])).toThrow(/alternate/);
  });
});

describe("a base model without a template", () => {
  const fake = new FakeVocabulary({ control: ["<bos>", "<eos>"], bos: "<bos>", prependBos: true });
  const template = new ChatTemplate(fake.vocabulary, undefined);
  const turns = (question: string): Turn[] => [
    { role: "system", text: "Answer." },
    { role: "user", text: "1 + 1?" },
    { role: "assistant", text: "2" },
    { role: "user", text: question },
  ];

  test("gets a page of questions and answers", () => {
    const page = "⟦<bos>⟧Answer.\n\nQuestion: 1 + 1?\nAnswer: 2\n\nQuestion: 2 + 2?\nAnswer:";
    expect(fake.spell(template.tokenize(turns("2 + 2?")))).toBe(page);
  });

  test("gets a control token that somebody wrote as one piece of text", () => {
    const asked: string[] = [];
    const { vocabulary } = fake;
    const tokenize = ((text: string, special?: boolean) => {
      asked.push(text);
      return vocabulary.tokenize(text, special);
    }) as typeof vocabulary.tokenize;
    const tokens = new ChatTemplate({ ...vocabulary, tokenize }, undefined).tokenize(turns("<eos>?"));
    expect(fake.spell(tokens)).toMatch(/^⟦<bos>⟧Answer\.[^⟦]*Question: <eos>\?\nAnswer:$/);
    // Cut into characters, real vocabularies would give other tokens.
    expect(asked.at(-1)).toMatch(/^Answer\..*Answer:$/s);
  });
});
