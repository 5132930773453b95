// JSON files of a model's directory: small, optional, not trusted.
import { open } from "node:fs/promises";
import { badModelFile } from "./bounded-reader.ts";

export type JsonObject = Record<string, unknown>;

// The largest that occurs is tokenizer.json, half a megabyte for 30,522 tokens.
const MAX_BYTES = 64 * 1024 * 1024;

/** The object in the file; undefined when there is no file. @throws PipitError `bad_model_file` (kind `config`) */
export async function readJson(path: string): Promise<JsonObject | undefined> {
  const value = await readValue(path);
  const object = jsonObject(value);
  if (value !== undefined && object === undefined) throw badModelFile(path, "is not a JSON object");
  return object;
}

/** The list in the file; undefined when there is no file. @throws PipitError `bad_model_file` (kind `config`) */
export async function readJsonList(path: string): Promise<unknown[] | undefined> {
  const value = await readValue(path);
  if (value === undefined || Array.isArray(value)) return value;
  throw badModelFile(path, "is not a JSON list");
}

async function readValue(path: string): Promise<unknown> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    if (size > MAX_BYTES) throw badModelFile(path, `has ${size} bytes, at most ${MAX_BYTES} are expected`);
    return parse(path, await file.readFile("utf8"));
  } finally {
    await file.close();
  }
}

export function jsonObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

function parse(path: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw badModelFile(path, "is not JSON", error);
  }
}
