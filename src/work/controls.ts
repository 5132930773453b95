// `…/control/<verb>`: what an operator may ask of a running agent. Only verbs on the allow-list are obeyed, only on their
// own topic, and every one is answered with its transaction.
import { RequestError, toError } from "../core/errors.ts";
import type { IncomingMessage, OutgoingMessage } from "../core/message.ts";
import { describe } from "../core/request-fields.ts";

const MAX_TRANSACTION_CHARACTERS = 200;
const SHOWN_VERB_CHARACTERS = 40;

export type Verb = (argument: Record<string, unknown>) => unknown;

export class Controls {
  readonly #verbs: ReadonlyMap<string, Verb>;

  constructor(verbs: Readonly<Record<string, Verb>>, allowed: readonly string[]) {
    this.#verbs = new Map(Object.entries(verbs).filter(([name]) => allowed.includes(name)));
  }

  /** Runs the verb named by the last topic level; the result goes to `responseTopic`, as JSON. */
  async handle(message: IncomingMessage, responseTopic: string): Promise<OutgoingMessage> {
    const name = message.topic.split("/").at(-1) ?? "";
    let transaction: unknown;
    let body: object;
    try {
      const argument = parseArgument(message.payload);
      transaction = transactionOf(argument);
      const verb = this.#verbs.get(name);
      if (!verb)
        throw new RequestError(
          "not_allowed",
          `no verb ${describe(name)}; allowed: ${[...this.#verbs.keys()].join(", ")}`,
        );
      body = { status: "ok", data: (await verb(argument)) ?? {} };
    } catch (thrown) {
      const error = toError(thrown);
      const code = error instanceof RequestError ? error.code : "failed";
      body = { status: "error", error: { code, message: error.message } };
    }
    return {
      topic: responseTopic,
      payload: new TextEncoder().encode(
        JSON.stringify({ transaction, verb: name.slice(0, SHOWN_VERB_CHARACTERS), ...body }),
      ),
      contentType: "application/json",
      text: true,
      ...(message.correlationData && { correlationData: message.correlationData }),
    };
  }
}

/** Repeated in the response as it came, so it must be small: deeply nested lists cannot even be written again. */
function transactionOf({ transaction }: Record<string, unknown>): string | number | undefined {
  if (transaction === undefined || transaction === null || typeof transaction === "number")
    return transaction ?? undefined;
  if (typeof transaction === "string" && transaction.length <= MAX_TRANSACTION_CHARACTERS) return transaction;
  const takes = `a number or text of at most ${MAX_TRANSACTION_CHARACTERS} characters`;
  throw new RequestError("bad_request", `transaction must be ${takes}, got ${describe(transaction)}`);
}

function parseArgument(payload: Uint8Array): Record<string, unknown> {
  const text = new TextDecoder().decode(payload).trim();
  if (text.length === 0) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw new RequestError("bad_request", "the payload is not JSON", { cause });
  }
  throw new RequestError("bad_request", "the payload is not a JSON object");
}
