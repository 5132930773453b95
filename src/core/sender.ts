// Who asks, as far as it can be known: a broker tells topics and payloads, never who published them. So limits and turns go by
// what the configuration names: the reply topic, a user property, or what the wildcards of the route matched. Only a topic
// level that the broker's access list ties to the user cannot be chosen freely by the sender.
import { shortened } from "./digest.ts";
import type { IncomingMessage } from "./message.ts";
import { fillTemplate, matchFilter, withoutShare } from "./topics.ts";

export const BY_REPLY_TOPIC = "reply_topic";
const PROPERTY = "property:";
/** Names are kept for as long as there are limits to watch. */
const MAX_SENDER_CHARACTERS = 160;

/** The name of the user property that tells the sender, if the rule goes by one. */
export function senderProperty(rule: string): string | undefined {
  return rule.startsWith(PROPERTY) ? rule.slice(PROPERTY.length) : undefined;
}

/** What is wrong with a rule; `wildcards` is how many the topic filter has. */
export function senderFault(rule: string, wildcards: number): string | undefined {
  if (rule === BY_REPLY_TOPIC) return undefined;
  const property = senderProperty(rule);
  if (property !== undefined) return property === "" ? "names no user property after `property:`" : undefined;
  const named = [...rule.matchAll(/\{(\d+)\}/g)].map((match) => Number(match[1]));
  if (named.length === 0) return "must be reply_topic, property:<name>, or name a wildcard such as {1}";
  if (named.includes(0)) return "counts wildcards from {1}";
  const highest = Math.max(...named);
  return highest > wildcards ? `names {${highest}}, but the topic filter has only ${wildcards} of + and #` : undefined;
}

/** Messages without the property that tells the sender are all of one sender, which none of them can leave. */
export function senderOf(rule: string, message: IncomingMessage, filter: string, replyTopic: string): string {
  const property = senderProperty(rule);
  const name =
    rule === BY_REPLY_TOPIC
      ? replyTopic
      : property === undefined
        ? fillTemplate(rule, matchFilter(withoutShare(filter), message.topic) ?? [])
        : firstOf(message.userProperties, property);
  return shortened(name, MAX_SENDER_CHARACTERS);
}

function firstOf(properties: IncomingMessage["userProperties"], name: string): string {
  const value = properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : undefined;
  return (typeof value === "object" ? value[0] : value) ?? "";
}
