// BERT's tokenizer, equal to Hugging Face's on what llama.cpp's own gets wrong: Hangul and other scripts that decompose,
// spacing vowel signs, words over 100 characters. Pure; takes the vocabulary as a GGUF file holds it ("▁" before a word's
// first piece, bare later pieces). Text that looks like [CLS] or [SEP] is text.

export interface WordPieceVocabulary {
  /** By id, in the form of the GGUF file. */
  tokens: readonly string[];
  unknownId: number;
  lowercase: boolean;
  stripAccents: boolean;
  /** Each Chinese character is a word of its own; left out: yes. */
  ideographs?: boolean;
}

const WORD_START = "\u2581";
/** Longer words become [UNK] as a whole, as in the reference. */
const MAX_WORD_CHARACTERS = 100;

// Of the control characters only tab, line feed and carriage return separate words; the others vanish.
const DROPPED = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\uFFFD]/u;
const SPACE = /\s/u;
const PUNCTUATION = /[\p{P}$+<=>^`|~]/u;
const ACCENT = /\p{Mn}/gu;
const IDEOGRAPH =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/u;

export class WordPiece {
  readonly #vocabulary: WordPieceVocabulary;
  readonly #first = new Map<string, number>();
  readonly #later = new Map<string, number>();
  #longest = 0;

  constructor(vocabulary: WordPieceVocabulary) {
    this.#vocabulary = vocabulary;
    for (const [id, token] of vocabulary.tokens.entries()) {
      const isFirst = token.startsWith(WORD_START);
      const text = isFirst ? token.slice(1) : token;
      const pieces = isFirst ? this.#first : this.#later;
      // Of equal pieces the last counts, as in the reference.
      pieces.set(text, id);
      this.#longest = Math.max(this.#longest, text.length);
    }
  }

  /** Ids of the text alone, without [CLS] and [SEP]. */
  encode(text: string): number[] {
    return this.#words(text).flatMap((word) => this.#pieces(word));
  }

  #words(text: string): string[] {
    const words: string[] = [];
    let word = "";
    const end = () => {
      if (word !== "") words.push(word);
      word = "";
    };
    for (const character of this.#normalize(text)) {
      if (SPACE.test(character)) {
        end();
      } else if (PUNCTUATION.test(character)) {
        end();
        words.push(character);
      } else {
        word += character;
      }
    }
    end();
    return words;
  }

  #normalize(text: string): string {
    const { lowercase, stripAccents, ideographs = true } = this.#vocabulary;
    let clean = "";
    for (const character of text) {
      if (DROPPED.test(character)) continue;
      if (SPACE.test(character)) clean += " ";
      else clean += ideographs && IDEOGRAPH.test(character) ? ` ${character} ` : character;
    }
    if (stripAccents) clean = clean.normalize("NFD").replace(ACCENT, "");
    if (!lowercase) return clean;
    // One by one: the reference knows no final sigma.
    return Array.from(clean, (character) => character.toLowerCase()).join("");
  }

  /** The longest known piece from the left, again and again; [UNK] for the whole word when one step finds none. */
  #pieces(word: string): number[] {
    const characters = Array.from(word);
    if (characters.length > MAX_WORD_CHARACTERS) return [this.#vocabulary.unknownId];
    const ids: number[] = [];
    for (let start = 0; start < characters.length;) {
      const pieces = start === 0 ? this.#first : this.#later;
      let end = Math.min(characters.length, start + this.#longest);
      let id: number | undefined;
      for (; end > start && id === undefined; end--) id = pieces.get(characters.slice(start, end).join(""));
      if (id === undefined) return [this.#vocabulary.unknownId];
      ids.push(id);
      start = end + 1;
    }
    return ids;
  }
}
