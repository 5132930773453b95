// The first look at a message: a question, or whom to tell what is wrong with it.
import type { IncomingMessage } from "../core/message.ts";
import type { Addressee } from "../core/reply.ts";
import { parseRequest, type Question } from "../core/request.ts";
import { type RequestLimits, returnAddressOfBadRequest } from "../core/return-address.ts";
import type { Route } from "../core/route.ts";

export interface IntakeOptions {
  limits: RequestLimits;
  makeId: () => string;
}

/** `addressee` is undefined where the fault lies in the route's reply template: only its owner can be told, by the log. */
export type Intake = { question: Question } | { question: undefined; addressee: Addressee | undefined; error: unknown };

export function readQuestion(message: IncomingMessage, route: Route, { limits, makeId }: IntakeOptions): Intake {
  try {
    return { question: parseRequest(message, route, limits, makeId) };
  } catch (error) {
    const address = returnAddressOfBadRequest(message, route, limits, makeId);
    return { question: undefined, addressee: address && { ...address, route, expiresMs: undefined }, error };
  }
}
