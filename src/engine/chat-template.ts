// The prompt of a conversation, token for token as the model's own chat template makes it, while whatever people write
// stays text: a control token spelled out in a message is tokenised as its characters (design.md §1, issue 3 point 6).
import { Template } from "@huggingface/jinja";
import type { LlamaModel, Token } from "node-llama-cpp";
import type { Turn } from "../core/ports.ts";

/**
 * Control tokens written by people are broken by this character before the template sees them and mended after the
 * template's own control tokens have been found. A noncharacter: Unicode keeps it out of interchanged text (§23.7).
 */
const GUARD = "\uFDD0";

/** What a prompt needs of a model: its vocabulary. */
export type Vocabulary = Pick<LlamaModel, "tokenize" | "detokenize" | "getTokenAttributes" | "tokens">;

export class ChatTemplate {
  readonly #model: Vocabulary;
  readonly #template: Template | undefined;

  /** `source` is the model's own template in Jinja; a base model has none. */
  constructor(model: Vocabulary, source: string | undefined) {
    this.#model = model;
    this.#template = source === undefined ? undefined : new Template(source);
  }

  /** The prompt up to where the assistant's answer begins; plain text has no template. */
  tokenize(written: readonly Turn[] | string): Token[] {
    if (typeof written === "string") return this.#withBos(this.#model.tokenize(written, false));
    const turns = written.map(({ role, text }) => ({ role, text: text.replaceAll(GUARD, "\uFFFD") }));
    const spelled = [...this.#controlTokens(turns.map(({ text }) => text).join("\n")).keys()];
    if (spelled.length === 0) return this.#withBos(this.#model.tokenize(this.#render(turns), true));
    const guarded = turns.map(({ role, text }) => ({ role, text: guardText(text, spelled) }));
    return this.#withBos(this.#tokenizeGuarded(this.#render(guarded)));
  }

  /** Tokens of plain text that continues a prompt, such as a label. */
  continuation(text: string): Token[] {
    return this.#model.tokenize(text, false, "trimLeadingSpace");
  }

  #render(turns: readonly Turn[]): string {
    const template = this.#template;
    if (template === undefined) return renderPlain(turns);
    try {
      return this.#renderTemplate(template, turns);
    } catch (refused) {
      // Templates that know no system role raise an exception (Gemma 2, Mistral 7B): its text opens the first question.
      if (turns[0]?.role !== "system") throw refused;
      return this.#renderTemplate(template, foldSystem(turns));
    }
  }

  #renderTemplate(template: Template, turns: readonly Turn[]): string {
    const { tokens } = this.#model;
    return template.render({
      messages: turns.map(({ role, text }) => ({ role, content: text })),
      add_generation_prompt: true,
      bos_token: tokens.bosString ?? "",
      eos_token: tokens.eosString ?? "",
    });
  }

  /** The control tokens that occur in `text` when it is read as a prompt, by their strings. */
  #controlTokens(text: string): Map<string, Token> {
    const found = new Map<string, Token>();
    for (const token of new Set(this.#model.tokenize(text, true))) {
      const { control, unknown } = this.#model.getTokenAttributes(token);
      const string = control || unknown ? this.#model.detokenize([token], true) : "";
      if (string.length > 0) found.set(string, token);
    }
    return found;
  }

  /** As the tokenizer does it: control tokens first, some of which swallow the white space beside them, then the text between. */
  #tokenizeGuarded(rendered: string): Token[] {
    const control = this.#controlTokens(rendered);
    const parts = splitAt(rendered, [...control.keys()]);
    const attributesAt = (index: number) => {
      const token = control.get(parts[index] ?? "");
      return token === undefined ? undefined : this.#model.getTokenAttributes(token);
    };
    return parts.flatMap((part, index) => {
      const token = control.get(part);
      if (token !== undefined) return [token];
      let text = part.replaceAll(GUARD, "");
      if (attributesAt(index - 1)?.rstrip) text = text.replace(/^[ \t\n\v\f\r]+/, "");
      if (attributesAt(index + 1)?.lstrip) text = text.replace(/[ \t\n\v\f\r]+$/, "");
      return text.length > 0 ? this.#model.tokenize(text, false) : [];
    });
  }

  /** Most templates write the BOS token; where they leave it to the tokenizer, it is added here, once. */
  #withBos(tokens: Token[]): Token[] {
    const { bos, shouldPrependBosToken } = this.#model.tokens;
    if (!shouldPrependBosToken || bos === null || tokens[0] === bos) return tokens;
    return [bos, ...tokens];
  }
}

function guardText(text: string, control: readonly string[]): string {
  return control.reduce(
    (done, string) => done.replaceAll(string, `${string.slice(0, 1)}${GUARD}${string.slice(1)}`),
    text,
  );
}

/** The text cut at every separator, the separators kept as parts of their own; the longest one wins. */
function splitAt(text: string, separators: readonly string[]): string[] {
  if (separators.length === 0) return [text];
  const escaped = [...separators]
    .sort((one, other) => other.length - one.length)
    .map((separator) => separator.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return text.split(new RegExp(`(${escaped.join("|")})`)).filter((part) => part.length > 0);
}

function foldSystem(turns: readonly Turn[]): Turn[] {
  const [system, first, ...rest] = turns;
  if (system === undefined || first === undefined) return [...turns];
  return [{ role: first.role, text: `${system.text}\n\n${first.text}` }, ...rest];
}

/** For a base model, which has no chat template: the usual question-and-answer page it has seen in its training. */
function renderPlain(turns: readonly Turn[]): string {
  const lines = turns.map(({ role, text }) => {
    if (role === "system") return `${text}\n\n`;
    return role === "user" ? `Question: ${text}\nAnswer:` : ` ${text}\n\n`;
  });
  return lines.join("");
}
