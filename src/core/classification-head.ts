// A sequence-classification head as it stands on a BERT-family trunk: one dense layer, its activation, one output layer.
// llama.cpp knows tanh only, DistilBERT has ReLU, so the head is applied here, to the trunk's [CLS] vector. Pure.
import { probabilitiesOf } from "./head.ts";
import type { Link } from "./logistic.ts";

export interface ClassificationHead {
  activation: "tanh" | "relu";
  /** In the order of the logits. */
  labels: string[];
  /** `softmax`: one label is right; `sigmoid`: each label is right or not, for itself. */
  link: Link;
  hiddenSize: number;
  /** Row by row, one row per output. */
  denseWeight: Float32Array;
  denseBias: Float32Array;
  outputWeight: Float32Array;
  outputBias: Float32Array;
}

/** Logits in the order of `labels`, from the vector of [CLS] as the trunk gives it, not normalised. */
export function applyClassificationHead(head: ClassificationHead, clsVector: Float32Array): number[] {
  if (clsVector.length !== head.hiddenSize) {
    throw new RangeError(`the vector has ${clsVector.length} numbers, the head takes ${head.hiddenSize}`);
  }
  const activate = head.activation === "tanh" ? Math.tanh : (value: number) => Math.max(0, value);
  const hidden = affine(head.denseWeight, head.denseBias, clsVector).map(activate);
  return affine(head.outputWeight, head.outputBias, hidden);
}

/** As the model's makers trained it: no temperature is put upon them. In the order of `labels`. */
export function classProbabilities(head: ClassificationHead, clsVector: Float32Array): number[] {
  return probabilitiesOf(head.link, applyClassificationHead(head, clsVector), 1);
}

function affine(weight: Float32Array, bias: Float32Array, input: ArrayLike<number>): number[] {
  const outputs: number[] = [];
  for (let row = 0; row < bias.length; row++) {
    let sum = bias[row] as number;
    const from = row * input.length;
    for (let i = 0; i < input.length; i++) sum += (weight[from + i] as number) * (input[i] as number);
    outputs.push(sum);
  }
  return outputs;
}
