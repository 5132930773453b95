// The watchdog's decision as a pure function: which rooms owe a step and have not made one within the time it may take.
import type { Health } from "../core/health.ts";

export interface RoomReading {
  room: string;
  health: Health;
}

/** When a room last moved: its step count changed, it took up other work, or it was at rest. */
export interface Movement {
  steps: number;
  what: string | undefined;
  sinceMs: number;
}

export interface StuckRoom {
  room: string;
  what: string;
  /** Time since the room last moved, and how long a step of this work may take. */
  stillMs: number;
  stepMs: number;
}

export interface Verdict {
  movements: ReadonlyMap<string, Movement>;
  stuck: StuckRoom[];
}

/** `nowMs` is monotonic. A room seen for the first time counts as having moved just now. */
export function judgeProgress(before: ReadonlyMap<string, Movement>, rooms: RoomReading[], nowMs: number): Verdict {
  const movements = new Map<string, Movement>();
  const stuck: StuckRoom[] = [];
  for (const { room, health } of rooms) {
    const last = before.get(room);
    const what = health.doing?.what;
    const still = last !== undefined && what !== undefined && last.what === what && last.steps === health.steps;
    const sinceMs = still ? last.sinceMs : nowMs;
    movements.set(room, { steps: health.steps, what, sinceMs });
    if (health.doing && nowMs - sinceMs > health.doing.stepMs) {
      stuck.push({ room, what: health.doing.what, stillMs: nowMs - sinceMs, stepMs: health.doing.stepMs });
    }
  }
  return { movements, stuck };
}

/** `engine: no step of "decode" for 42.0 s, 10.0 s allowed` */
export function describeStuck(stuck: StuckRoom): string {
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  return `${stuck.room}: no step of "${stuck.what}" for ${seconds(stuck.stillMs)} s, ${seconds(stuck.stepMs)} s allowed`;
}
