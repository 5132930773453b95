// Tokens to text while they come: never half a character, never white space at either end, and the pieces join to the whole.

/** U+FFFD at the end of detokenised text: the bytes of a character that is not complete yet. */
const INCOMPLETE = /\uFFFD+$/;
/** A UTF-8 character has at most 4 bytes, so at most 4 byte tokens; beyond that the model really wrote nonsense. */
const MOST_TOKENS_OF_A_CHARACTER = 4;
/** Tokens before the pending ones that a tokenizer may look at to decide on a leading space. */
const LOOK_BACK_TOKENS = 8;

export type Detokenize<Token> = (tokens: readonly Token[], before: readonly Token[]) => string;

export class TextStream<Token> {
  readonly #detokenize: Detokenize<Token>;
  /** Tokens whose text has been handed out or is held as white space. */
  #done: Token[] = [];
  /** Tokens since the last one that ended with a whole character. */
  #pending: Token[] = [];
  /** Characters of the pending tokens that are whole and have been handed out or held as white space. */
  #shown = 0;
  /** Tokens since a character of the pending ones became whole. */
  #stuck = 0;
  /** White space that is only handed out if something follows. */
  #space = "";
  #begun = false;

  constructor(detokenize: Detokenize<Token>) {
    this.#detokenize = detokenize;
  }

  /** Text that can be handed out now that `token` has come; often empty. */
  push(token: Token): string {
    this.#pending.push(token);
    const text = this.#detokenize(this.#pending, this.#done.slice(-LOOK_BACK_TOKENS));
    const whole = text.replace(INCOMPLETE, "");
    this.#stuck = whole.length > this.#shown ? 1 : this.#stuck + 1;
    if (whole.length < text.length && this.#stuck < MOST_TOKENS_OF_A_CHARACTER) return this.#show(whole);
    const shown = this.#show(text);
    this.#settle();
    return shown;
  }

  /** What is left when no token follows. */
  end(): string {
    const shown = this.#show(this.#detokenize(this.#pending, this.#done.slice(-LOOK_BACK_TOKENS)));
    this.#settle();
    return shown;
  }

  /** What of the pending text is new. */
  #show(text: string): string {
    const added = text.slice(this.#shown);
    this.#shown = text.length;
    return this.#trim(added);
  }

  #settle(): void {
    this.#done = [...this.#done, ...this.#pending].slice(-LOOK_BACK_TOKENS);
    this.#pending = [];
    this.#shown = 0;
    this.#stuck = 0;
  }

  #trim(text: string): string {
    const body = this.#begun ? text : text.trimStart();
    if (body.length === 0) return "";
    this.#begun = true;
    const kept = (this.#space + body).trimEnd();
    this.#space = (this.#space + body).slice(kept.length);
    return kept;
  }
}
