// What the governor has decided and why. A plan is data; changing it is the governor's business alone.

export interface ThreadPlan {
  /** Threads for batches that read a prompt. */
  prefill: number;
  /** Threads for batches that write one token a sequence. */
  decode: number;
}

/** How the batches behave towards the neighbours. */
export interface Manners {
  /** Rest after each batch, in times of what the batch took. */
  restRatio: number;
  /** Whoever wakes up has a core of the threads at once (SCHED_IDLE); beside neighbours who want every core they starve. */
  yielding: boolean;
}

export interface Plan {
  threads: ThreadPlan;
  /** Tokens that one sequence can hold: prompt and answer together. */
  contextTokens: number;
  /** Most tokens evaluated in one uninterruptible step. */
  batchTokens: number;
  /** Questions evaluated side by side in one batch. */
  sequences: number;
  /** Position on the model ladder: 0 is the configured model, higher is smaller. */
  modelRung: number;
  /** Why this model, and no larger context. */
  modelReason: string;
  /** Why the threads are as they are, and what is missing of what was configured; in words a person reads. */
  reason: string;
}
