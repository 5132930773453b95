// Keys that hold topics and topic filters (MQTT 5 §4.7), and what may be wrong with them.
import { filterFault, topicFault, withoutShare } from "../core/topics.ts";
import { list } from "./key-lists.ts";
import { text } from "./key.ts";
import type { Key, KeySpec } from "./key.ts";

type FaultOf = (written: string) => string | undefined;

/** A topic filter; `faultOf` says which kinds are allowed. */
export function topicFilter(doc: string, faultOf: FaultOf): Key<string | undefined> {
  return text({ doc, maxCharacters: 65_535, takes: "a topic filter", faultOf });
}

/** To subscribe to: `$share/<group>/…` is allowed. */
export function subscriptionFault(written: string): string | undefined {
  if (written.startsWith("$share/")) {
    const group = written.split("/")[1] ?? "";
    if (group === "" || /[+#]/.test(group)) return "needs a group without wildcards after $share/";
  }
  const fault = filterFault(withoutShare(written));
  return fault === undefined ? undefined : `must be a topic filter, it ${fault}`;
}

/** Filters of the reply topics that a request may name. */
export function replyFilters<const D extends readonly string[] | undefined = undefined>(
  spec: KeySpec<D>,
): Key<readonly string[] | D> {
  const filter = topicFilter("Topic filter.", replyFilterFault);
  return list<string, D>(filter, { ...spec, max: 64, takes: "topic filters", identity: String });
}

/** Replies never go to topics that begin with `$`, so none can be allowed. */
function replyFilterFault(written: string): string | undefined {
  const fault = written.startsWith("$") ? "begins with `$`" : filterFault(written);
  return fault === undefined ? undefined : `must be a topic filter, it ${fault}`;
}

/** A reply topic with `{1}`, `{2}`… for what wildcards matched. */
export function templateFault(template: string): string | undefined {
  if (/\{0+\}/.test(template)) return "counts wildcards from {1}";
  const fault = topicFault(template.replaceAll(/\{\d+\}/g, "x"));
  return fault === undefined ? undefined : `must be a topic, it ${fault}`;
}

/** The topic that all others begin with. */
export function baseTopicFault(base: string): string | undefined {
  if (base.includes("+") || base.includes("#")) return "must not contain a wildcard";
  if (base.startsWith("$")) return "must not begin with `$`";
  if (base.split("/").includes("")) return "must not have an empty level";
  const fault = filterFault(base);
  return fault === undefined ? undefined : `must be a topic, it ${fault}`;
}
