// A model file that has been found and verified, with what planning needs to know of it.
import type { ClassificationHead } from "./classification-head.ts";
import type { ModelShape } from "./memory-plan.ts";

export interface ModelFile {
  /** As in the catalogue, or the file's name for a path of the user's own. */
  name: string;
  path: string;
  sha256: string;
  kind: "decoder" | "encoder";
  shape: ModelShape;
  /** The classification head that came with an encoder. */
  head?: ClassificationHead;
  /** What an encoder's makers want to stand before every text. */
  prefix?: string;
}

/** Another one whenever the file's vectors would be others. */
export function encoderId({ name, sha256, prefix = "" }: ModelFile): string {
  return `${name} ${sha256.slice(0, 16)}${prefix === "" ? "" : ` ${JSON.stringify(prefix)}`}`;
}
