// Keys of what one sender may take, shared by the section `limits` and the entries of `routes`, and of all askers of a route.
import { senderFault, senderProperty } from "../core/sender.ts";
import { integer, text } from "./key.ts";

const BOUNDS = {
  perMinute: { min: 1, max: 1_000_000, zero: "no limit" },
  tokens: { min: 1, max: 100_000_000, unit: "tokens", zero: "no limit" },
  open: { min: 1, max: 100_000, zero: "no limit" },
  bytes: { min: 256, max: 1024 ** 3, unit: "bytes", zero: "no limit" },
} as const;

/** Of MQTT strings (MQTT 5 §1.5.4), less than anybody needs. */
const MAX_SENDER_RULE = 200;
/** More than any filter has: what a filter really has is checked where it is known. */
const ANY_WILDCARDS = Infinity;

const SENDER_TAKES = "reply_topic or property:<name of a user property>";

export const limits = {
  sender: text({
    doc: "How a sender is told from others: `reply_topic`, or `property:<name>` for an MQTT 5 user property.",
    default: "reply_topic",
    maxCharacters: MAX_SENDER_RULE,
    takes: SENDER_TAKES,
    faultOf: (rule) =>
      senderFault(rule, 0) === undefined
        ? undefined
        : `must be ${SENDER_TAKES}; wildcards are for the sender of a route`,
  }),
  sender_questions_per_minute: integer({
    doc: "Questions that each sender may ask of a route within a minute; more are refused as `rate_limited`.",
    ...BOUNDS.perMinute,
    default: 60_000,
  }),
  sender_tokens_per_minute: integer({
    doc: "Tokens that each sender may have read and written by a route within a minute.",
    ...BOUNDS.tokens,
    default: 0,
  }),
  sender_open_questions: integer({
    doc: "Questions of each sender that may wait or run on a route at once.",
    ...BOUNDS.open,
    default: 0,
  }),
  sender_open_bytes: integer({
    doc: "Bytes of those questions together.",
    ...BOUNDS.bytes,
    default: 0,
  }),
  questions_per_minute: integer({
    doc: "Questions that all senders together may ask of a route within a minute.",
    ...BOUNDS.perMinute,
    default: 0,
  }),
  tokens_per_minute: integer({
    doc: "Tokens that all senders together may have read and written by a route within a minute.",
    ...BOUNDS.tokens,
    default: 0,
  }),
  open_questions: integer({
    doc: "Questions of all senders together that may wait or run on a route at once.",
    ...BOUNDS.open,
    default: 0,
  }),
};

/** The same for one route. */
export const routeLimits = {
  sender: text({
    doc:
      "How a sender is told from others: `reply_topic`, `property:<name>` for an MQTT 5 user property, or `{1}`, `{2}`… " +
      "for what the wildcards of the filter matched.",
    maxCharacters: MAX_SENDER_RULE,
    takes: `${SENDER_TAKES} or a wildcard such as {1}`,
    faultOf: (rule) => senderFault(rule, ANY_WILDCARDS),
  }),
  sender_questions_per_minute: integer({ doc: "Questions of each sender within a minute.", ...BOUNDS.perMinute }),
  sender_tokens_per_minute: integer({ doc: "Tokens of each sender within a minute.", ...BOUNDS.tokens }),
  sender_open_questions: integer({ doc: "Questions of each sender that wait or run at once.", ...BOUNDS.open }),
  sender_open_bytes: integer({ doc: "Bytes of those questions together.", ...BOUNDS.bytes }),
  questions_per_minute: integer({ doc: "Questions of all senders within a minute.", ...BOUNDS.perMinute }),
  tokens_per_minute: integer({ doc: "Tokens of all senders within a minute.", ...BOUNDS.tokens }),
  open_questions: integer({ doc: "Questions of all senders that wait or run at once.", ...BOUNDS.open }),
};

/** What is wrong between the sender of a route and its filter, whose wildcards it may name. */
export function routeSenderFault(sender: string | undefined, wildcards: number): string | undefined {
  if (sender === undefined || senderProperty(sender) !== undefined) return undefined;
  return senderFault(sender, wildcards);
}
