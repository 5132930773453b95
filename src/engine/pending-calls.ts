// The calls that the model's process owes an answer, by number: what it says about one goes to who made it.
import { PipitError, type ReplyErrorCode, RequestError } from "../core/errors.ts";
import type { Piece } from "../core/ports.ts";
import type { Argument, CallName, FromChild, Result, ToChild, WireError } from "./protocol.ts";

interface PendingCall {
  resolve(value: unknown): void;
  reject(error: Error): void;
  onPiece?: (piece: Piece) => void;
  onProgress?: (fraction: number) => void;
}

export interface CallOptions extends Pick<PendingCall, "onPiece" | "onProgress"> {
  signal?: AbortSignal | undefined;
}

export class PendingCalls {
  readonly #calls = new Map<number, PendingCall>();
  #lastId = 0;

  get size(): number {
    return this.#calls.size;
  }

  /** Sends a call; an abort is passed on, and it is the child's answer to it that ends the call. */
  start<Name extends CallName>(
    name: Name,
    argument: Argument<Name>,
    { signal, onPiece, onProgress }: CallOptions,
    send: (message: ToChild) => void,
  ): Promise<Result<Name>> {
    const id = ++this.#lastId;
    return new Promise<Result<Name>>((resolve, reject) => {
      const onAbort = () => send({ type: "abort", id });
      const settle = () => {
        signal?.removeEventListener("abort", onAbort);
        this.#calls.delete(id);
      };
      this.#calls.set(id, {
        resolve: (value) => (settle(), resolve(value as Result<Name>)),
        reject: (error) => (settle(), reject(error)),
        ...(onPiece && { onPiece }),
        ...(onProgress && { onProgress }),
      });
      signal?.addEventListener("abort", onAbort, { once: true });
      send({ type: "call", id, name, argument });
    });
  }

  receive(message: Exclude<FromChild, { type: "up" | "steps" }>): void {
    const call = this.#calls.get(message.id);
    switch (message.type) {
      case "piece":
        return call?.onPiece?.(message.piece);
      case "progress":
        return call?.onProgress?.(message.fraction);
      case "result":
        return call?.resolve(message.value);
      case "error":
        return call?.reject(errorOfWire(message.error));
    }
  }

  rejectAll(error: PipitError): void {
    for (const call of [...this.#calls.values()]) call.reject(error);
  }
}

export function aborted(signal: AbortSignal): PipitError {
  return new PipitError("transient", "aborted", "cancelled", { cause: signal.reason });
}

/** `work`, unless the signal fires first. */
export function untilAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(aborted(signal));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

function errorOfWire({ kind, code, message }: WireError): PipitError {
  return kind === "request" ? new RequestError(code as ReplyErrorCode, message) : new PipitError(kind, code, message);
}
