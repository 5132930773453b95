// The classification head of an imported model: described in the metadata of its GGUF file, its float32 weights the last
// bytes of that file, behind the tensors (dense weight, dense bias, output weight, output bias). One file, one hash: head
// and trunk cannot part.
import { open } from "node:fs/promises";
import type { ClassificationHead } from "../core/classification-head.ts";
import { badModelFile } from "./bounded-reader.ts";
import type { GgufHeader } from "./gguf-header.ts";

export const HEAD_KEYS = {
  activation: "pipit.head.activation",
  labels: "pipit.head.labels",
  multiLabel: "pipit.head.multi_label",
} as const;

/** Labels of the head, or undefined for a model without one. @throws PipitError `bad_model_file` (kind `config`) */
export function classificationLabels(path: string, header: GgufHeader): string[] | undefined {
  const text = header.metadata.get(HEAD_KEYS.labels);
  if (text === undefined) return undefined;
  const labels = typeof text === "string" ? parseLabels(text) : undefined;
  if (labels === undefined) throw badModelFile(path, `${HEAD_KEYS.labels} is not a list of texts`);
  return labels;
}

/** The head in full; undefined for a model without one. @throws PipitError `bad_model_file` (kind `config`) */
export async function readClassificationHead(
  path: string,
  header: GgufHeader,
): Promise<ClassificationHead | undefined> {
  const labels = classificationLabels(path, header);
  if (labels === undefined) return undefined;
  const activation = header.metadata.get(HEAD_KEYS.activation);
  if (activation !== "tanh" && activation !== "relu") {
    throw badModelFile(path, `${HEAD_KEYS.activation} is ${JSON.stringify(String(activation))}, expected tanh or relu`);
  }
  const hiddenSize = header.embeddingSize;
  const sizes = [hiddenSize * hiddenSize, hiddenSize, labels.length * hiddenSize, labels.length];
  const bytes = 4 * sizes.reduce((sum, size) => sum + size, 0);
  const tensorsEnd = header.tensors.reduce((end, tensor) => Math.max(end, tensor.offsetBytes + tensor.sizeBytes), 0);
  if (header.fileBytes - tensorsEnd < bytes) throw badModelFile(path, `is truncated: its head takes ${bytes} bytes`);
  const weights = await readFloats(path, header.fileBytes - bytes, bytes);
  let at = 0;
  const [denseWeight, denseBias, outputWeight, outputBias] = sizes.map((size) => {
    at += size;
    return weights.subarray(at - size, at);
  }) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const link = header.metadata.get(HEAD_KEYS.multiLabel) === true ? "sigmoid" : "softmax";
  return { activation, labels, link, hiddenSize, denseWeight, denseBias, outputWeight, outputBias };
}

async function readFloats(path: string, offset: number, bytes: number): Promise<Float32Array> {
  const file = await open(path, "r");
  try {
    const buffer = new Uint8Array(bytes);
    for (let got = 0; got < bytes;) {
      const { bytesRead } = await file.read(buffer, got, bytes - got, offset + got);
      if (bytesRead === 0) throw badModelFile(path, "became shorter while it was read");
      got += bytesRead;
    }
    return new Float32Array(buffer.buffer);
  } finally {
    await file.close();
  }
}

function parseLabels(text: string): string[] | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    const sound = Array.isArray(value) && value.length > 0 && value.every((label) => typeof label === "string");
    return sound ? (value as string[]) : undefined;
  } catch {
    return undefined;
  }
}
