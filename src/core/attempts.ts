// When a question is given up because processes die on it. The model's process runs little else, so its death is good
// evidence; the daemon may be killed for many reasons and works on other things as well, so its death weighs half. It weighs
// something, because a question may have the kernel end the whole unit, before anybody could note what died first.

/** How inference on a question has ended so far without an answer. */
export interface Attempts {
  /** Begun without a known end: the daemon died meanwhile. The attempt under way counts too. */
  starts: number;
  /** Ended by the death of the model's process. */
  deaths: number;
}

/** Two deaths of the model's process, or four of the daemon, or one and two. */
const MOST_EVIDENCE = 4;
const DEATH_EVIDENCE = 2;

/** Judges attempts that are over: asked before the next one begins. */
export function isDeadly({ starts, deaths }: Attempts): boolean {
  return starts + DEATH_EVIDENCE * deaths >= MOST_EVIDENCE;
}

/** Nothing else shall run beside it, so that the next death can be told to be its doing. */
export function isSuspect({ starts, deaths }: Attempts): boolean {
  return starts + deaths > 0;
}

export function describeAttempts({ starts, deaths }: Attempts): string {
  const parts = [];
  if (deaths > 0) parts.push(`the model's process died ${times(deaths)} on this question`);
  if (starts > 0) parts.push(`the agent ended ${times(starts)} while it worked on it`);
  return parts.join(", ");
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}
