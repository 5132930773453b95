// What the daemon remembers about memory over a restart: what models really took here, and what the kernel has killed.
import type { Bar } from "./ladder.ts";

export interface MemoryNotes {
  /** Measured less predicted RSS by model, see `learnMemory`. */
  corrections: Record<string, number>;
  /** By kind of model, for the ladder of these names; monotonic times mean nothing to the next life. */
  bars: Record<string, { rungs: string; bar: Omit<Bar, "untilMs">; untilWallMs: number }>;
}

/** Survives the daemon; losing it costs a load that is planned less well. */
export interface MemoryNotesStore {
  read(): MemoryNotes;
  write(notes: MemoryNotes): void;
}

/** What a model takes is learnt for its file and one version of the native library. */
export function correctionKey(sha256: string, library: string): string {
  return `${sha256.slice(0, 16)} ${library}`;
}

/** The bar in this life's time. A clock that was set back must not bar a model longer than the kill deserved. */
export function barFromNotes(
  { bars }: MemoryNotes,
  kind: string,
  rungs: readonly string[],
  nowMs: number,
  wallMs: number,
): Bar | undefined {
  const note = bars[kind];
  if (!note || note.rungs !== rungs.join(" ")) return undefined;
  const leftMs = Math.min(note.bar.holdMs, note.untilWallMs - wallMs);
  return leftMs > 0 ? { ...note.bar, untilMs: nowMs + leftMs } : undefined;
}

export function withBar(
  notes: MemoryNotes,
  kind: string,
  rungs: readonly string[],
  { untilMs, ...bar }: Bar,
  nowMs: number,
  wallMs: number,
): MemoryNotes {
  const note = { rungs: rungs.join(" "), bar, untilWallMs: wallMs + (untilMs - nowMs) };
  return { ...notes, bars: { ...notes.bars, [kind]: note } };
}
