// Calibration cards on disk, one file for each (model, CPU, library). Written beside and renamed, so that a power cut
// leaves the old card or the new one; a damaged file reads as no card.
import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { type CalibrationCard, type CalibrationKey, cardFromWire, cardToWire, sameKey } from "../core/calibration.ts";

export class CardStore {
  readonly #directory: string;

  /** @param directory made when the first card is saved. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async load(key: CalibrationKey): Promise<CalibrationCard | undefined> {
    try {
      const card = cardFromWire(JSON.parse(await readFile(this.#path(key), "utf8")));
      return card && sameKey(card.key, key) ? card : undefined;
    } catch {
      return undefined;
    }
  }

  async save(card: CalibrationCard): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const path = this.#path(card.key);
    const file = await open(`${path}.new`, "w");
    try {
      await file.writeFile(`${JSON.stringify(cardToWire(card), undefined, 2)}\n`);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
  }

  #path(key: CalibrationKey): string {
    const name = createHash("sha256")
      .update(`${key.modelSha256}\n${key.cpu}\n${key.library}`)
      .digest("hex")
      .slice(0, 16);
    return join(this.#directory, `${name}.json`);
  }
}
