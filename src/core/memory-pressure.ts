// Signs that the board is running out of memory, before the kernel acts. Pure. None of them is needed: a board without PSI
// and memory groups is judged by MemAvailable and by the pages that the model's process has to read again.
import { memoryBudget } from "./memory-plan.ts";
import type { Readings } from "./readings.ts";

export interface Pressure {
  why: string;
  /** The kernel is about to kill: no time to wait and see. */
  emergency: boolean;
}

/** What others took between the looks at the memory, and what is left to take. */
export interface Growth {
  atMs: number;
  leftBytes: number;
  ownBytes: number;
  /** Of the last two intervals the slower one: a program that starts takes much once, one that leaks takes on and on. */
  bytesPerSecond: number;
  lastBytesPerSecond: number;
}

export interface PressureInput {
  readings: Readings;
  /** What the engine's process needs by plan. */
  needBytes: number;
  growth?: Growth | undefined;
  tokensPerSecond?: number | undefined;
}

const MIB = 1024 * 1024;
/** Less than this left to the board or the group: the kernel is about to act. */
const EMERGENCY_BYTES = 24 * MIB;
/** What others will have taken this much later is counted as taken: a look every 2 s, and a load of some seconds. */
const AHEAD_S = 8;
/** Of what the plan leaves to others: one that just fits is not pressed by the first program that starts. */
const PRESSED_RESERVE = 0.5;
/** A token of a small model touches some 20,000 pages, and one fault brings in up to 32 of them. */
const FAULTS_PER_TOKEN = 10;
/** Fewer are housekeeping; where no token was counted this alone decides. */
const FAULTS_PER_SECOND = 200;
const STALLED_PERCENT = 5;
const SHORTEST_INTERVAL_MS = 500;

/** What can still be had before the kernel kills: mapped weights count, it drops them first. */
export function bytesLeft({ memoryAvailableBytes, groupMemory }: Readings): number {
  if (!groupMemory) return memoryAvailableBytes;
  return Math.min(memoryAvailableBytes, groupMemory.headroomBytes + (groupMemory.mappedBytes ?? 0));
}

export function growthOf(before: Growth | undefined, readings: Readings): Growth {
  const { atMs } = readings;
  const leftBytes = bytesLeft(readings);
  const ownBytes = readings.child?.anonymousBytes ?? 0;
  if (!before) return { atMs, leftBytes, ownBytes, bytesPerSecond: 0, lastBytesPerSecond: 0 };
  if (atMs - before.atMs < SHORTEST_INTERVAL_MS) return before;
  // What the model's own process took in the meantime is no growth of others.
  const taken = before.leftBytes - leftBytes - (ownBytes - before.ownBytes);
  const now = Math.max(0, (taken * 1000) / (atMs - before.atMs));
  return {
    atMs,
    leftBytes,
    ownBytes,
    bytesPerSecond: Math.min(now, before.lastBytesPerSecond),
    lastBytesPerSecond: now,
  };
}

export function pressureOf({ readings, needBytes, growth, tokensPerSecond }: PressureInput): Pressure | undefined {
  const left = bytesLeft(readings);
  if (left < EMERGENCY_BYTES) return { why: `only ${mib(left)} MiB of memory are left`, emergency: true };
  const perSecond = growth?.bytesPerSecond ?? 0;
  if (left - perSecond * AHEAD_S < EMERGENCY_BYTES) {
    const why = `other programs take ${mib(perSecond)} MiB a second, ${mib(left)} MiB are left`;
    return { why, emergency: true };
  }
  const budgetBytes = memoryBudget(readings, PRESSED_RESERVE);
  if (needBytes > budgetBytes) {
    return { why: `the model needs ${mib(needBytes)} MiB, ${mib(budgetBytes)} MiB are left for it`, emergency: false };
  }
  const faults = readings.child?.majorFaultsPerSecond ?? 0;
  const perToken = tokensPerSecond ? faults / tokensPerSecond : 0;
  if (faults > FAULTS_PER_SECOND || perToken > FAULTS_PER_TOKEN) {
    const often = perToken > 0 ? `, ${perToken.toFixed(0)} times a token` : "";
    return { why: `the kernel evicts the model's weights and reads them again${often}`, emergency: false };
  }
  const stalled = readings.pressure?.memoryFull ?? 0;
  if (stalled > STALLED_PERCENT) {
    return { why: `programs stand still for memory ${stalled.toFixed(0)} % of the time`, emergency: false };
  }
  return undefined;
}

const mib = (bytes: number) => (bytes / MIB).toFixed(0);
