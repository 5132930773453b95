// Entry of the model's process. It talks to nobody but its parent: no network, no journal. When the parent is gone, so is it.
import { writeFileSync } from "node:fs";
import { PipitError, toError } from "../core/errors.ts";
import { ModelHost } from "./model-host.ts";
import { PieceReports, StepReports } from "./reports.ts";
import { Scheduling } from "./scheduling.ts";
import type { FromChild, ToChild, WireError } from "./protocol.ts";

/** If the board runs out of memory the kernel shall take this process first; the parent starts another one. */
const OOM_SCORE_ADJUST = "500";

const running = new Map<number, AbortController>();
let scheduling: Scheduling | undefined;
const steps = new StepReports((reports) => send({ type: "steps", steps: reports }));
const host = new ModelHost((step) => steps.add(step));

function send(message: FromChild): void {
  // A parent that is going away is no error of ours: `disconnect` follows.
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

async function run(call: Extract<ToChild, { type: "call" }>): Promise<void> {
  const { id } = call;
  const controller = new AbortController();
  running.set(id, controller);
  const pieces = new PieceReports((piece) => send({ type: "piece", id, piece }));
  try {
    const value = await host.call(call.name, call.argument, {
      signal: controller.signal,
      onPiece: (piece) => pieces.add(piece),
      onProgress: (fraction) => send({ type: "progress", id, fraction }),
    });
    steps.flush();
    send({ type: "result", id, value });
  } catch (thrown) {
    send({ type: "error", id, error: wireError(thrown) });
  } finally {
    running.delete(id);
  }
}

function wireError(thrown: unknown): WireError {
  if (thrown instanceof PipitError) return { kind: thrown.kind, code: thrown.code, message: thrown.message };
  return { kind: "bug", code: "engine_failed", message: toError(thrown).message };
}

process.on("message", (message: ToChild) => {
  switch (message.type) {
    case "call":
      void run(message);
      return;
    case "abort":
      running.get(message.id)?.abort(new PipitError("transient", "aborted", "cancelled between two batches"));
      return;
    case "threads":
      host.setThreads(message.threads, message.restRatio);
      scheduling?.setYielding(message.yielding);
  }
});
// The native library may be in the middle of a batch: nothing to save here, so leave at once.
process.on("disconnect", () => process.exit(0));
// A terminal's Ctrl-C reaches the whole process group, a service manager's SIGTERM often the whole control group; the
// parent decides when this process ends.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});

try {
  writeFileSync("/proc/self/oom_score_adj", OOM_SCORE_ADJUST);
} catch {
  // Without proc the kernel chooses by size, which is also this process.
}
// `PIPIT_SCHEDULING=default` leaves it to the kernel, to measure what ours is good for.
if (process.env["PIPIT_SCHEDULING"] !== "default") scheduling = await Scheduling.open();
send({ type: "up" });
