// The model ladder: which of the configured models is loaded, and how large. Pure: readings and memory of earlier
// decisions in, rung, plan and reason out. Changing costs a load and every cached prefix, so it waits: 60 s between two
// changes, 5 minutes of ample room before growing; only a board about to run out of memory is answered at once.
import { memoryBudget, type MemoryInput, type MemoryPlan, planMemory } from "./memory-plan.ts";
import type { Readings } from "./readings.ts";

export interface Rung {
  name: string;
  /** Undefined for the last resort: nothing is loaded, questions are refused with a reason. */
  memory?: Omit<MemoryInput, "budgetBytes">;
}

export interface LadderState {
  rung: number;
  plan?: MemoryPlan;
  changedAtMs: number;
  pressedSinceMs?: number;
  roomSinceMs?: number;
  /** The kernel has killed the engine on a rung above: not used again until then. */
  barred?: { above: number; untilMs: number; holdMs: number };
  oomKills?: number;
}

export interface LadderInput {
  rungs: readonly Rung[];
  readings: Readings;
  /** Undefined for the first load. */
  state?: LadderState;
  /** Nothing is loaded now (the model slept): choose as for the first load, but remember what the kernel killed. */
  fresh?: boolean;
  /** No question runs: only then anything is changed. */
  idle: boolean;
  /** The engine's process was killed since the last decision. */
  killed?: boolean;
}

export interface LadderDecision {
  rung: number;
  name: string;
  plan?: MemoryPlan;
  action: "keep" | "load" | "unload";
  reason: string;
  state: LadderState;
}

const MIB = 1024 * 1024;
export const CHANGE_DWELL_MS = 60_000;
export const GROW_AFTER_MS = 300_000;
/** Room for the larger plan and half as much again, so that growing does not call for shrinking. */
const AMPLE = 1.5;
const PRESSED_FOR_MS = 5000;
/** Less than this left to the board or the group: the kernel is about to act. */
const EMERGENCY_BYTES = 24 * MIB;
/** Pages read again for want of memory; a token of a small model touches some 20 000 pages. */
const FAULTS_PER_SECOND = 200;
const STALLED_PERCENT = 5;
const FIRST_BAR_MS = 1_800_000;

export function decideRung(input: LadderInput): LadderDecision {
  const { rungs, readings, idle } = input;
  const nowMs = readings.atMs;
  const before = input.state && withKill(input.state, input, nowMs);
  const barredAbove = before?.barred && nowMs < before.barred.untilMs ? before.barred.above : 0;
  if (!before || input.fresh) {
    const first = bestFit(rungs, readings, barredAbove, 1);
    const state: LadderState = { ...before, rung: first.rung, changedAtMs: nowMs };
    return change(first, nowMs, state, first.plan?.reason ?? first.short ?? "no model is wanted");
  }
  if (before.rung < barredAbove) {
    const lower = bestFit(rungs, readings, barredAbove, 1);
    if (idle) return change(lower, nowMs, before, "the kernel killed the larger model for want of memory");
  }
  const pressed = pressureOf(before, rungs, readings);
  const larger = bestFit(rungs, readings, barredAbove, AMPLE);
  const mayGrow = !pressed && exceeds(larger, before);
  const state: LadderState = {
    ...before,
    pressedSinceMs: pressed ? (before.pressedSinceMs ?? nowMs) : undefined,
    roomSinceMs: mayGrow ? (before.roomSinceMs ?? nowMs) : undefined,
  };
  const rested = nowMs - state.changedAtMs >= CHANGE_DWELL_MS;
  if (pressed && idle) {
    const lasting = nowMs - (state.pressedSinceMs ?? nowMs) >= PRESSED_FOR_MS;
    const smaller = smallerThan(state, rungs, readings, barredAbove);
    if (smaller && (pressed.emergency || (lasting && rested))) return change(smaller, nowMs, state, pressed.why);
  }
  if (mayGrow && idle && rested && nowMs - (state.roomSinceMs ?? nowMs) >= GROW_AFTER_MS) {
    return change(larger, nowMs, state, "memory has been ample for five minutes");
  }
  return keep(rungs, state, pressed?.why);
}

interface Fit {
  rung: number;
  name: string;
  plan?: MemoryPlan;
  /** Why nothing fits. */
  short?: string;
}

/** The highest rung whose plan fits with `margin` to spare. */
function bestFit(rungs: readonly Rung[], readings: Readings, from: number, margin: number): Fit {
  const budgetBytes = memoryBudget(readings) / margin;
  let short: string | undefined;
  for (const [index, { name, memory }] of rungs.entries()) {
    if (index < from) continue;
    if (!memory) return { rung: index, name, ...(short !== undefined && { short }) };
    const plan = planMemory({ ...memory, budgetBytes });
    if (plan.fits) return { rung: index, name, plan };
    short = `${name} does not fit: ${plan.reason}`;
  }
  return { rung: rungs.length, name: "none", ...(short !== undefined && { short }) };
}

/** What to shrink to: what fits now, or, where the plan would fit and the board still suffers, half of what we take. */
function smallerThan(state: LadderState, rungs: readonly Rung[], readings: Readings, from: number): Fit | undefined {
  const fit = bestFit(rungs, readings, from, 1);
  if (takesLess(fit, state)) return fit;
  const { memory, name } = rungs[state.rung] ?? {};
  if (memory && name !== undefined && state.plan) {
    const wanted = { ...state.plan, sequences: 1, contextTokens: Math.floor(state.plan.contextTokens / 2) };
    const plan = planMemory({ ...memory, wanted, budgetBytes: state.plan.predictedRssBytes });
    if (plan.fits && wanted.contextTokens >= 256) return { rung: state.rung, name, plan };
  }
  const next = state.rung + 1;
  return next < rungs.length ? bestFit(rungs, readings, next, 1) : undefined;
}

function takesLess(fit: Fit, state: LadderState): boolean {
  if (fit.rung !== state.rung) return fit.rung > state.rung;
  return (fit.plan?.predictedRssBytes ?? 0) < (state.plan?.predictedRssBytes ?? 0);
}

function exceeds(fit: Fit, state: LadderState): boolean {
  if (fit.rung !== state.rung) return fit.rung < state.rung;
  const now = state.plan;
  return (
    fit.plan !== undefined && (!now || fit.plan.contextTokens * fit.plan.sequences > now.contextTokens * now.sequences)
  );
}

/** What the engine takes is known from its process; before it is loaded, from the plan. */
function pressureOf(
  state: LadderState,
  rungs: readonly Rung[],
  readings: Readings,
): { why: string; emergency: boolean } | undefined {
  if (!rungs[state.rung]?.memory) return undefined;
  const { child, pressure, groupMemory } = readings;
  const left = Math.min(readings.memoryAvailableBytes, groupMemory?.headroomBytes ?? Infinity);
  const leftMib = (left / MIB).toFixed(0);
  if (left < EMERGENCY_BYTES) return { why: `only ${leftMib} MiB of memory are left`, emergency: true };
  const budgetBytes = memoryBudget(readings);
  const need = state.plan?.predictedRssBytes ?? 0;
  if (need > budgetBytes) {
    const [needs, has] = [need, budgetBytes].map((bytes) => (bytes / MIB).toFixed(0));
    return { why: `the model needs ${needs} MiB, ${has} MiB are left for it`, emergency: false };
  }
  if ((child?.majorFaultsPerSecond ?? 0) > FAULTS_PER_SECOND) {
    return { why: "the kernel evicts the model's weights and reads them again", emergency: false };
  }
  if ((pressure?.memoryFull ?? 0) > STALLED_PERCENT) {
    return {
      why: `programs stand still for memory ${pressure?.memoryFull?.toFixed(0)} % of the time`,
      emergency: false,
    };
  }
  return undefined;
}

/** A kill by the kernel bars the rung; a second one bars the next for twice as long. */
function withKill(state: LadderState, input: LadderInput, nowMs: number): LadderState {
  const oomKills = input.readings.groupMemory?.oomKills;
  const counted = oomKills !== undefined && state.oomKills !== undefined && oomKills > state.oomKills;
  const next = { ...state, ...(oomKills === undefined ? {} : { oomKills }) };
  if (!input.killed && !counted) return next;
  const last = input.rungs.length - 1;
  const above = Math.min(last, state.rung + 1);
  if (above === state.rung) return next;
  const holdMs = state.barred ? state.barred.holdMs * 2 : FIRST_BAR_MS;
  return { ...next, barred: { above, holdMs, untilMs: nowMs + holdMs } };
}

function change(fit: Fit, nowMs: number, before: LadderState, why: string): LadderDecision {
  const { rung, name, plan } = fit;
  const state: LadderState = {
    ...before,
    rung,
    plan,
    changedAtMs: nowMs,
    pressedSinceMs: undefined,
    roomSinceMs: undefined,
  };
  return { rung, name, ...(plan && { plan }), action: plan ? "load" : "unload", reason: `${name}: ${why}`, state };
}

function keep(rungs: readonly Rung[], state: LadderState, why: string | undefined): LadderDecision {
  const name = rungs[state.rung]?.name ?? "none";
  const { rung, plan } = state;
  return {
    rung,
    name,
    ...(plan && { plan }),
    action: "keep",
    reason: `${name}: ${why ?? plan?.reason ?? "nothing is loaded"}`,
    state,
  };
}
