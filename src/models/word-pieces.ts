// The WordPiece vocabulary of a Hugging Face directory (vocab.txt, or tokenizer.json without it) in the form llama.cpp
// keeps it: a word's first piece carries "▁" in front, a later piece stands bare where Hugging Face writes "##".
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { PipitError } from "../core/errors.ts";
import { type JsonObject, jsonObject, readJson } from "./json-file.ts";

export interface WordPieces {
  tokens: string[];
  /** Number of the token's kind in a GGUF file, by token. */
  types: number[];
  ids: { cls: number; sep: number; unk: number; pad: number; mask: number | undefined };
  lowercase: boolean;
  stripAccents: boolean;
  /** Each Chinese character is a word of its own. */
  ideographs: boolean;
}

/** In a GGUF file, where it is not so. */
export const IDEOGRAPHS_KEY = "tokenizer.ggml.normalizer.handle_chinese_chars";

const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;

/** `size` is what the embedding table holds; ids beyond the vocabulary are filled with unused tokens. */
export async function readWordPieces(directory: string, size: number): Promise<WordPieces> {
  const tokenizer = await readJson(join(directory, "tokenizer.json"));
  const settings = (await readJson(join(directory, "tokenizer_config.json"))) ?? {};
  const special = (await readJson(join(directory, "special_tokens_map.json"))) ?? {};
  checkTokenizer(directory, tokenizer);
  const vocabulary = (await readVocabularyText(directory)) ?? readVocabularyJson(directory, tokenizer);
  const largest = [...vocabulary.keys()].reduce((most, id) => Math.max(most, id), -1);
  if (largest >= size) throw bad(directory, `has ids up to ${largest}; the model has room for ${size} tokens`);
  const added = addedTokens(tokenizer);
  const nameOf = (role: string, usual: string) => textOf(settings[role]) ?? textOf(special[role]) ?? usual;
  const names = {
    cls: nameOf("cls_token", "[CLS]"),
    sep: nameOf("sep_token", "[SEP]"),
    unk: nameOf("unk_token", "[UNK]"),
    pad: nameOf("pad_token", "[PAD]"),
    mask: nameOf("mask_token", "[MASK]"),
  };
  const idOf = (name: string) => [...vocabulary].find(([, token]) => token === name)?.[0];
  const required = (name: string): number => {
    const id = idOf(name);
    if (id === undefined) throw bad(directory, `has no token ${JSON.stringify(name)}`);
    return id;
  };
  const controls = new Set([
    ...Object.values(names),
    ...added.filter(({ special }) => special).map(({ token }) => token),
  ]);
  const userDefined = new Set(added.filter(({ special }) => !special).map(({ token }) => token));
  const tokens: string[] = [];
  const types: number[] = [];
  const last = new Map([...vocabulary].map(([id, token]) => [token, id]));
  for (let id = 0; id < size; id++) {
    const token = vocabulary.get(id);
    // Of equal tokens the last counts, and llama.cpp ends the process over the others.
    if (token === undefined || last.get(token) !== id) {
      tokens.push(`[PAD${id}]`);
      types.push(UNUSED);
    } else if (controls.has(token)) {
      tokens.push(token);
      types.push(CONTROL);
    } else {
      tokens.push(token.startsWith("##") ? token.slice(2) : `\u2581${token}`);
      types.push(userDefined.has(token) ? USER_DEFINED : NORMAL);
    }
  }
  const position = new Map(tokens.map((token, id) => [token, id]));
  const twice = tokens.find((token, id) => position.get(token) !== id);
  if (twice !== undefined) throw bad(directory, `spells ${JSON.stringify(twice)} in two ways`);
  const ids = {
    cls: required(names.cls),
    sep: required(names.sep),
    unk: required(names.unk),
    pad: required(names.pad),
    mask: idOf(names.mask),
  };
  return { tokens, types, ids, ...normalizer(tokenizer, settings) };
}

/** BERT's way of splitting texts is the one that the encoder has. */
function checkTokenizer(directory: string, tokenizer: JsonObject | undefined): void {
  for (const [part, expected] of [
    ["normalizer", "BertNormalizer"],
    ["pre_tokenizer", "BertPreTokenizer"],
  ] as const) {
    const type = jsonObject(tokenizer?.[part])?.["type"];
    if (type !== undefined && type !== expected) {
      throw bad(directory, `has a ${part} of type ${JSON.stringify(type)} in tokenizer.json, expected ${expected}`);
    }
  }
}

async function readVocabularyText(directory: string): Promise<Map<number, string> | undefined> {
  const text = await readFile(join(directory, "vocab.txt"), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const lines = text.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  if (lines.at(-1) === "") lines.pop();
  return new Map(lines.map((token, id) => [id, token]));
}

function readVocabularyJson(directory: string, tokenizer: JsonObject | undefined): Map<number, string> {
  const model = jsonObject(tokenizer?.["model"]);
  const vocabulary = jsonObject(model?.["vocab"]);
  if (vocabulary === undefined) throw bad(directory, "has neither vocab.txt nor tokenizer.json with a vocabulary");
  if (model?.["type"] !== undefined && model["type"] !== "WordPiece") {
    throw bad(directory, `has a ${String(model["type"])} tokenizer; WordPiece can be imported`);
  }
  const byId = new Map<number, string>();
  for (const [token, id] of Object.entries(vocabulary)) {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || byId.has(id as number)) {
      throw bad(directory, `gives token ${JSON.stringify(token)} the id ${JSON.stringify(id)}`);
    }
    byId.set(id as number, token);
  }
  return byId;
}

function addedTokens(tokenizer: JsonObject | undefined): { token: string; special: boolean }[] {
  const list = tokenizer?.["added_tokens"];
  if (!Array.isArray(list)) return [];
  return (list as unknown[]).flatMap((item) => {
    const { content, special } = jsonObject(item) ?? {};
    return typeof content === "string" ? [{ token: content, special: special === true }] : [];
  });
}

/** tokenizer.json is what Hugging Face's fast tokenizers obey; tokenizer_config.json speaks where it is missing. */
function normalizer(
  tokenizer: JsonObject | undefined,
  settings: JsonObject,
): Pick<WordPieces, "lowercase" | "stripAccents" | "ideographs"> {
  const rules = jsonObject(tokenizer?.["normalizer"]);
  const lowercase = (rules?.["lowercase"] ?? settings["do_lower_case"] ?? true) === true;
  const strip = rules === undefined ? settings["strip_accents"] : rules["strip_accents"];
  const ideographs = rules?.["handle_chinese_chars"] ?? settings["tokenize_chinese_chars"] ?? true;
  return { lowercase, stripAccents: typeof strip === "boolean" ? strip : lowercase, ideographs: ideographs === true };
}

function textOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = jsonObject(token)?.["content"];
  return typeof content === "string" ? content : undefined;
}

function bad(directory: string, why: string): PipitError {
  return new PipitError("config", "bad_model_file", `${directory}: the vocabulary ${why}`);
}
