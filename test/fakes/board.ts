// Readings of an imagined board, for tests of whatever reads them.
import type { Readings } from "../../src/core/readings.ts";

export function readingsOf(part: Partial<Readings> = {}): Readings {
  const affinityCores = part.affinityCores ?? 4;
  return {
    atMs: 0,
    windowMs: 250,
    coreCount: affinityCores,
    affinityCores,
    allowedCores: Math.min(affinityCores, part.quotaCores ?? Infinity),
    foreignCores: 0,
    ownCores: 0,
    memoryTotalBytes: 4e9,
    memoryAvailableBytes: 3e9,
    ...part,
  };
}
