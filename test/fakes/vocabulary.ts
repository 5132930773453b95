// A vocabulary that can be read: a character is the token of its code point, a control token has a negative number. It
// finds control tokens as llama.cpp does, with the white space that some of them swallow.
import type { Token, Tokenizer } from "node-llama-cpp";
import type { Vocabulary } from "../../src/engine/chat-template.ts";

export interface FakeVocabularyOptions {
  control: readonly string[];
  bos?: string;
  eos?: string;
  /** The tokenizer is expected to put BOS first. */
  prependBos?: boolean;
  /** Control tokens that swallow white space after and before them. */
  rstrip?: readonly string[];
  lstrip?: readonly string[];
  /** Found among control tokens without being one, like `<unk>`. */
  unknown?: string;
}

export class FakeVocabulary {
  readonly tokens: Vocabulary["tokens"];
  readonly #options: FakeVocabularyOptions;
  readonly #special: string[];

  constructor(options: FakeVocabularyOptions) {
    const { control, bos, eos, prependBos = false, unknown } = options;
    this.#options = options;
    this.#special = unknown === undefined ? [...control] : [...control, unknown];
    const bosToken = bos === undefined ? null : this.#tokenOf(bos);
    this.tokens = {
      bos: bosToken,
      bosString: bos ?? null,
      eosString: eos ?? null,
      shouldPrependBosToken: prependBos,
    } as unknown as Vocabulary["tokens"];
  }

  /** As the class under test takes it. */
  get vocabulary(): Vocabulary {
    return {
      tokens: this.tokens,
      tokenize: ((text: string, special?: boolean) => this.#tokenize(text, special === true)) as Tokenizer,
      detokenize: ((tokens: Token[]) => tokens.map((token) => this.#textOf(token)).join("")) as never,
      getTokenAttributes: (token) => this.#attributesOf(token) as never,
    };
  }

  /** Tokens in a form that people read: control tokens in brackets of their own. */
  spell(tokens: readonly Token[]): string {
    return tokens.map((token) => (token < 0 ? `⟦${this.#textOf(token)}⟧` : this.#textOf(token))).join("");
  }

  #tokenize(text: string, special: boolean): Token[] {
    const { rstrip = [], lstrip = [] } = this.#options;
    const found = special ? this.#special.find((string) => text.includes(string)) : undefined;
    if (found === undefined) return Array.from(text, (character) => character.codePointAt(0) as Token);
    const at = text.indexOf(found);
    let [before, after] = [text.slice(0, at), text.slice(at + found.length)];
    if (lstrip.includes(found)) before = before.trimEnd();
    if (rstrip.includes(found)) after = after.trimStart();
    return [...this.#tokenize(before, special), this.#tokenOf(found), ...this.#tokenize(after, special)];
  }

  #tokenOf(string: string): Token {
    return (-1 - this.#special.indexOf(string)) as Token;
  }

  #textOf(token: Token): string {
    return token < 0 ? (this.#special[-1 - token] ?? "") : String.fromCodePoint(token);
  }

  #attributesOf(token: Token): Record<"control" | "unknown" | "rstrip" | "lstrip", boolean> {
    const { control, rstrip = [], lstrip = [] } = this.#options;
    const string = this.#textOf(token);
    const isSpecial = token < 0;
    return {
      control: isSpecial && control.includes(string),
      unknown: isSpecial && !control.includes(string),
      rstrip: isSpecial && rstrip.includes(string),
      lstrip: isSpecial && lstrip.includes(string),
    };
  }
}
