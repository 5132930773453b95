// A model file that has been found and verified, with what planning needs to know of it.
import type { ModelShape } from "./memory-plan.ts";

export interface ModelFile {
  /** As in the catalogue, or the file's name for a path of the user's own. */
  name: string;
  path: string;
  sha256: string;
  kind: "decoder" | "encoder";
  shape: ModelShape;
}
