// The model ladder: which of the configured models is loaded, and how large. Pure: readings and memory of earlier
// decisions in, rung, plan and reason out. Changing costs a load, so it waits: 60 s between two changes, a minute of room
// before growing and longer each time that proves wrong; only a board about to run out of memory is answered at once. Where
// nothing is loaded and every question is refused, five seconds of room are enough, and longer too each time that proves wrong.
import {
  LEAST_CONTEXT_TOKENS,
  memoryBudget,
  type MemoryInput,
  type MemoryPlan,
  planMemory,
  predictMemory,
} from "./memory-plan.ts";
import { type Growth, growthOf, type Pressure, pressureOf } from "./memory-pressure.ts";
import type { Readings } from "./readings.ts";

export interface Rung {
  name: string;
  /** Undefined for the last resort: nothing is loaded, questions are refused with a reason. */
  memory?: Omit<MemoryInput, "budgetBytes" | "othersBytes">;
}

/** After a kill by the kernel: what is not loaded again until then, by rung and by size. */
export interface Bar {
  above: number;
  belowBytes?: number;
  untilMs: number;
  holdMs: number;
}

export interface LadderState {
  rung: number;
  plan?: MemoryPlan;
  changedAtMs: number;
  pressedSinceMs?: number;
  roomSinceMs?: number;
  /** Room must last this long before growing; doubles whenever growing proves wrong. */
  growAfterMs: number;
  grownAtMs?: number;
  barred?: Bar;
  oomKills?: number;
  /** How fast others have been taking memory. */
  growth?: Growth;
}

export interface LadderInput {
  rungs: readonly Rung[];
  readings: Readings;
  /** Undefined for the first load. */
  state?: LadderState;
  /** Nothing is loaded now (the model slept, its process died): choose as for the first load, but remember the kills. */
  fresh?: boolean;
  /** The engine's process was killed since the last decision. */
  killed?: boolean;
  /** What other models take in the same process, and whether they make room for this one when both do not fit. */
  othersBytes?: number;
  othersYield?: boolean;
  /** Others go first: pressure is theirs to answer. */
  patient?: boolean;
  /** Tokens that the model reads and writes in a second. */
  tokensPerSecond?: number;
}

export interface LadderDecision {
  rung: number;
  name: string;
  plan?: MemoryPlan;
  action: "keep" | "load" | "unload";
  /** Only fits once the other models of the process are gone. */
  evictsOthers?: boolean;
  reason: string;
  state: LadderState;
}

export const CHANGE_DWELL_MS = 60_000;
export const FIRST_GROW_AFTER_MS = 60_000;
const LONGEST_GROW_AFTER_MS = 1_800_000;
/** Of the wait before growing, where nothing is loaded. */
const EMPTY_SHARE = 1 / 12;
/** Pressure this soon after growing says that growing was wrong. */
const REGRET_MS = 600_000;
const PRESSED_FOR_MS = 5000;
const FIRST_BAR_MS = 1_800_000;
/** A model that was killed and has no smaller one below it may take this share of what it took. */
const BARRED_SHARE = 0.85;

/** Of an earlier life of the daemon only the kills are worth remembering. */
export function restoredState(barred: Bar): LadderState {
  return { rung: 0, changedAtMs: 0, growAfterMs: FIRST_GROW_AFTER_MS, barred };
}

export function decideRung(input: LadderInput): LadderDecision {
  const { readings } = input;
  const nowMs = readings.atMs;
  const known = input.state && withKill(input.state, input);
  const growth = growthOf(known?.growth, readings);
  if (!known || input.fresh) {
    const first = bestFit(input, barOf(known, nowMs));
    const counted = readings.oomKills === undefined ? {} : { oomKills: readings.oomKills };
    const before = { growAfterMs: FIRST_GROW_AFTER_MS, ...known, ...counted };
    const state = { ...before, growth, rung: first.rung, changedAtMs: nowMs };
    return change(first, nowMs, state, first.plan?.reason ?? first.short ?? "no model is wanted");
  }
  const before = { ...known, growth, plan: presentPlan(input, known) };
  const bar = barOf(before, nowMs);
  if (forbidden(before, bar)) {
    return change(bestFit(input, bar), nowMs, before, "the kernel killed the larger one for want of memory");
  }
  const pressure = input.patient ? undefined : pressureOfRung(input, before);
  // Planned with the whole reserve and pressed only when half of it is gone: growing does not call for shrinking.
  const larger = bestFit(input, bar);
  const mayGrow = !pressure && exceeds(larger, before);
  const state: LadderState = {
    ...before,
    ...(pressure && regret(before, nowMs)),
    pressedSinceMs: pressure ? (before.pressedSinceMs ?? nowMs) : undefined,
    roomSinceMs: mayGrow ? (before.roomSinceMs ?? nowMs) : undefined,
  };
  const rested = !before.plan || nowMs - state.changedAtMs >= CHANGE_DWELL_MS;
  const growAfterMs = before.plan ? state.growAfterMs : state.growAfterMs * EMPTY_SHARE;
  if (pressure) {
    const lasting = nowMs - (state.pressedSinceMs ?? nowMs) >= PRESSED_FOR_MS;
    const smaller = smallerThan(state, input, bar, pressure);
    if (smaller && (pressure.emergency || (lasting && rested))) return change(smaller, nowMs, state, pressure.why);
  }
  if (mayGrow && rested && nowMs - (state.roomSinceMs ?? nowMs) >= growAfterMs) {
    const grown = { ...state, grownAtMs: nowMs };
    return change(larger, nowMs, grown, `there has been room for it for ${growAfterMs / 1000} seconds`);
  }
  return keep(input.rungs, state, pressure?.why);
}

/** The plan with what it takes by today's knowledge: what was learnt since, and the other models of the process. */
function presentPlan({ rungs, othersBytes = 0 }: LadderInput, { rung, plan }: LadderState): MemoryPlan | undefined {
  const memory = rungs[rung]?.memory;
  if (!plan || !memory) return plan;
  return { ...plan, predictedRssBytes: predictMemory({ ...memory, othersBytes }, plan).rssBytes };
}

function pressureOfRung({ rungs, readings, tokensPerSecond }: LadderInput, state: LadderState): Pressure | undefined {
  if (!rungs[state.rung]?.memory) return undefined;
  const needBytes = state.plan?.predictedRssBytes ?? 0;
  return pressureOf({ readings, needBytes, growth: state.growth, tokensPerSecond });
}

/** Growing was wrong: the next time waits twice as long. Long after it, the first wait is enough again. */
function regret({ grownAtMs, growAfterMs, pressedSinceMs }: LadderState, nowMs: number): Partial<LadderState> {
  if (grownAtMs === undefined || pressedSinceMs !== undefined) return {};
  const wrong = nowMs - grownAtMs < REGRET_MS;
  return {
    grownAtMs: undefined,
    growAfterMs: wrong ? Math.min(LONGEST_GROW_AFTER_MS, growAfterMs * 2) : FIRST_GROW_AFTER_MS,
  };
}

interface Fit {
  rung: number;
  name: string;
  plan?: MemoryPlan;
  evictsOthers?: boolean;
  /** Why nothing fits. */
  short?: string;
}

interface Limit {
  above: number;
  belowBytes: number;
}

function barOf(state: LadderState | undefined, nowMs: number): Limit {
  const { barred } = state ?? {};
  if (!barred || nowMs >= barred.untilMs) return { above: 0, belowBytes: Infinity };
  return { above: barred.above, belowBytes: barred.belowBytes ?? Infinity };
}

function forbidden({ rung, plan }: LadderState, { above, belowBytes }: Limit): boolean {
  return plan !== undefined && (rung < above || plan.predictedRssBytes > belowBytes);
}

/** The highest rung whose plan fits; beside the other models, or else in their place. */
function bestFit(input: LadderInput, bar: Limit): Fit {
  const { rungs, readings, othersBytes = 0, othersYield } = input;
  const budgetBytes = Math.min(memoryBudget(readings), bar.belowBytes);
  let short: string | undefined;
  for (const others of othersYield && othersBytes > 0 ? [othersBytes, 0] : [othersBytes]) {
    for (const [rung, { name, memory }] of rungs.entries()) {
      if (rung < bar.above || !memory) continue;
      const plan = planMemory({ ...memory, othersBytes: others, budgetBytes });
      if (plan.fits) return { rung, name, plan, ...(others < othersBytes && { evictsOthers: true }) };
      short = `${name} does not fit: ${plan.reason}`;
    }
  }
  const last = rungs.findIndex(({ memory }) => !memory);
  const name = rungs[last]?.name ?? "none";
  return { rung: last < 0 ? rungs.length : last, name, ...(short !== undefined && { short }) };
}

/**
 * What to shrink to: what fits now; where the plan would fit and the board still suffers, half of the context; where
 * nothing fits, the smallest there is. Nothing at all is loaded only if the ladder says so or the kernel is about to act:
 * a model whose weights are read again and again is slow, but it answers.
 */
function smallerThan(state: LadderState, input: LadderInput, bar: Limit, { emergency }: Pressure): Fit | undefined {
  const { rungs, othersBytes = 0, readings } = input;
  const fit = bestFit(input, bar);
  if (takesLess(fit, state) && (fit.plan || fit.rung < rungs.length)) return fit;
  const { memory, name } = rungs[state.rung] ?? {};
  if (!memory || name === undefined || !state.plan) return undefined;
  const contextTokens = Math.max(LEAST_CONTEXT_TOKENS, Math.floor(state.plan.contextTokens / 2));
  const wanted = { ...state.plan, sequences: 1, contextTokens };
  const budgetBytes = fit.plan ? state.plan.predictedRssBytes : Math.min(memoryBudget(readings), bar.belowBytes);
  const half = { rung: state.rung, name, plan: planMemory({ ...memory, othersBytes, wanted, budgetBytes }) };
  if (takesLess(half, state)) return half;
  const below = rungs.findIndex((rung, index) => index > state.rung && rung.memory);
  const next = rungs[below];
  if (next?.memory) {
    const plan = planMemory({ ...next.memory, othersBytes, budgetBytes: memoryBudget(readings) });
    return { rung: below, name: next.name, plan };
  }
  return emergency ? { rung: rungs.length, name: "none" } : undefined;
}

function takesLess(fit: Fit, state: LadderState): boolean {
  if (fit.rung !== state.rung) return fit.rung > state.rung;
  return (fit.plan?.predictedRssBytes ?? 0) < (state.plan?.predictedRssBytes ?? 0);
}

function exceeds(fit: Fit, state: LadderState): boolean {
  if (!fit.plan || fit.evictsOthers) return false;
  if (fit.rung !== state.rung) return fit.rung < state.rung;
  const now = state.plan;
  if (!now) return true;
  const size = ({ contextTokens, sequences }: MemoryPlan) => contextTokens * sequences;
  return size(fit.plan) > size(now) || (size(fit.plan) === size(now) && fit.plan.batchTokens > now.batchTokens);
}

/** A kill by the kernel bars the rung, or, where there is none below, the size; again and again for twice as long. */
function withKill(state: LadderState, input: LadderInput): LadderState {
  const { rungs, readings, killed } = input;
  const { oomKills } = readings;
  // A process that somebody else killed is no want of memory, where the kernel counts its own kills.
  const counted = oomKills === undefined || state.oomKills === undefined || oomKills > state.oomKills;
  const next = { ...state, ...(oomKills === undefined ? {} : { oomKills }) };
  if (!killed || !counted || !state.plan) return next;
  const holdMs = state.barred ? state.barred.holdMs * 2 : FIRST_BAR_MS;
  const untilMs = readings.atMs + holdMs;
  const below = rungs.findIndex((rung, index) => index > state.rung && rung.memory);
  const bar = below > 0 ? { above: below } : { above: state.rung, belowBytes: sizeAfterKill(state, input) };
  return { ...next, ...regret(next, readings.atMs), barred: { ...bar, holdMs, untilMs } };
}

/** Some less, the smallest there is, and after a kill of that nothing. */
function sizeAfterKill({ rung, plan }: LadderState, { rungs, othersBytes = 0 }: LadderInput): number {
  const memory = rungs[rung]?.memory;
  if (!memory || !plan) return 0;
  const least = planMemory({ ...memory, othersBytes, budgetBytes: 0 }).predictedRssBytes;
  return plan.predictedRssBytes > least ? Math.max(least, plan.predictedRssBytes * BARRED_SHARE) : 0;
}

function change({ rung, name, plan, evictsOthers }: Fit, nowMs: number, before: LadderState, why: string) {
  const fresh = { changedAtMs: nowMs, pressedSinceMs: undefined, roomSinceMs: undefined };
  const state: LadderState = { ...before, ...fresh, rung, plan };
  return {
    rung,
    name,
    ...(plan && { plan }),
    ...(evictsOthers && { evictsOthers }),
    action: plan ? ("load" as const) : ("unload" as const),
    reason: `${name}: ${why}`,
    state,
  };
}

function keep(rungs: readonly Rung[], state: LadderState, why: string | undefined): LadderDecision {
  const name = rungs[state.rung]?.name ?? "none";
  const { rung, plan } = state;
  const reason = `${name}: ${why ?? plan?.reason ?? "nothing is loaded"}`;
  return { rung, name, ...(plan && { plan }), action: "keep", reason, state };
}
