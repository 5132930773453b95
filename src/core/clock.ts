// The machine's clock behind the `Clock` port. Globals only, so that it also serves a browser.
import type { Clock } from "./ports.ts";

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};
