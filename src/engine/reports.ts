// What the child tells its parent while it works, gathered for a moment: a message a token wakes the parent on a core that a
// compute thread was using. With two messages a token an answer ran at 0.86 of the bare loop (2 threads, 2 cores).
import type { Piece, Step } from "../core/ports.ts";

/** Short enough that a streamed answer still flows and the governor still sees every quarter of a second. */
const GATHER_MS = 50;
/** A step this slow is news: the governor looks at the board at once. */
const SLOW_STEP_MS = 50;

export class StepReports {
  readonly #send: (steps: Step[]) => void;
  #steps: Step[] = [];
  #lastMs = -Infinity;

  constructor(send: (steps: Step[]) => void) {
    this.#send = send;
  }

  add(step: Step): void {
    this.#steps.push(step);
    if (step.ms >= SLOW_STEP_MS || performance.now() - this.#lastMs >= GATHER_MS) this.flush();
  }

  flush(): void {
    if (this.#steps.length === 0) return;
    this.#send(this.#steps);
    this.#steps = [];
    this.#lastMs = performance.now();
  }
}

/** The first piece at once, further text joined; what is left goes before the end. */
export class PieceReports {
  readonly #send: (piece: Piece) => void;
  #text = "";
  #lastMs = -Infinity;

  constructor(send: (piece: Piece) => void) {
    this.#send = send;
  }

  add(piece: Piece): void {
    if (piece.kind === "text") this.#text += piece.text;
    if (piece.kind === "end" || performance.now() - this.#lastMs >= GATHER_MS) this.#flush();
    if (piece.kind === "end") this.#send(piece);
  }

  #flush(): void {
    if (this.#text.length === 0) return;
    this.#send({ kind: "text", text: this.#text });
    this.#text = "";
    this.#lastMs = performance.now();
  }
}
