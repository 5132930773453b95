// Keys of one entry of `routes`. What an entry leaves out comes from `answer`, `classify` and `governor` when the agent
// makes its routes; here only the entry itself is checked.
import { fillTemplate, matchFilter, withoutShare } from "../core/topics.ts";
import { examples, labels, list, record } from "./key-lists.ts";
import type { ValuesOf } from "./key-lists.ts";
import { replyFilters, subscriptionFault, templateFault, topicFilter } from "./key-topics.ts";
import { choice, decimal, flag, integer, required, text } from "./key.ts";
import type { Reading } from "./key.ts";
import { routeLimits, routeSenderFault } from "./schema-limits.ts";
import { COURTESIES } from "./schema-service.ts";
import { LIMITS, MAX_SYSTEM_CHARACTERS } from "./schema-work.ts";

export const routeKeys = {
  name: text({
    doc: "Name in logs and metrics; left out: `route-` and its number.",
    pattern: /^[A-Za-z0-9_.-]{1,64}$/,
    takes: "1 to 64 of the characters A-Z a-z 0-9 _ . -",
  }),
  filter: required(
    topicFilter(
      "Topic filter to subscribe to; `$share/<group>/…` shares the questions between agents.",
      subscriptionFault,
    ),
  ),
  task: required(choice({ doc: "What to do with a text.", values: ["answer", "classify", "extract"] })),
  reply_topic: text({
    doc: "Where replies go when a request names no reply topic; `{1}`, `{2}`… are what the wildcards matched.",
    maxCharacters: 65_535,
    takes: "a topic",
    faultOf: templateFault,
  }),
  allow_reply_to: replyFilters({
    doc: "Reply topics a request may name, as topic filters; `{1}`, `{2}`… are what the wildcards matched.",
  }),
  reply_form: choice({ doc: "`json`, or `text`: the bare answer or label.", values: ["json", "text"] }),
  system: text({
    doc: "System text: who the model is and what it shall do.",
    maxCharacters: MAX_SYSTEM_CHARACTERS,
    empty: true,
  }),
  classifier: text({
    doc: "Name of a classifier of `classify.classifiers` or of their folder, instead of labels and examples here.",
    pattern: /^[A-Za-z0-9_.-]{1,64}$/,
    takes: "1 to 64 of the characters A-Z a-z 0-9 _ . -",
  }),
  labels: labels({ doc: "Labels to choose from." }),
  examples: examples({ doc: "Labelled texts to learn the labels from." }),
  truncate: flag({
    doc: "Classify a text that is too long for the encoder by its beginning; the reply says `truncated`.",
  }),
  max_tokens: integer({ doc: "Longest answer.", ...LIMITS.maxTokens }),
  temperature: decimal({
    doc: "How freely words are chosen: 0 for the same answer every time, more for variety.",
    ...LIMITS.temperature,
  }),
  deadline_ms: integer({ doc: "Longest wait for a reply, from arrival.", ...LIMITS.deadlineMs }),
  max_text_characters: integer({ doc: "Longest text of a request.", ...LIMITS.maxTextCharacters }),
  max_payload_bytes: integer({ doc: "Largest payload of a request.", ...LIMITS.maxPayloadBytes }),
  ...routeLimits,
  priority: integer({ doc: "Place in the queue: 9 first, 0 last.", min: 0, max: 9 }),
  courtesy: choice({ doc: "How much of a busy board its questions may take.", values: COURTESIES }),
};

export type RouteValues = ValuesOf<typeof routeKeys>;

export const routes = list<RouteValues, never[]>(record(routeKeys, "a route with the keys below", entryFaults), {
  doc: "What happens to messages of further topics.",
  default: [],
  max: 256,
  takes: "routes",
  identity: (route) => (route as RouteValues).filter,
});

/** What is wrong within one route although each of its keys is right. */
function entryFaults(route: Partial<RouteValues>, reading: Reading): void {
  const { filter: subscribed, reply_topic: reply } = route;
  if (subscribed !== undefined) {
    const fault = routeSenderFault(route.sender, wildcardsOf(subscribed).length);
    if (fault !== undefined) reading.fault(fault, "sender");
    for (const [index, filter] of (route.allow_reply_to ?? []).entries()) {
      namesWildcards(filter, subscribed, reading, "allow_reply_to", index);
    }
  }
  if (subscribed !== undefined && reply !== undefined) {
    namesWildcards(reply, subscribed, reading, "reply_topic");
    // Whatever the wildcards matched: would the answer be read as a question again?
    const answered = fillTemplate(
      reply,
      wildcardsOf(subscribed).map(() => "x"),
    );
    if (matchFilter(withoutShare(subscribed), answered) !== undefined) {
      reading.fault(
        `is matched by the route's own filter ${subscribed}: replies would be questions again`,
        "reply_topic",
      );
    }
  }
  if (route.labels === undefined || route.examples === undefined) return;
  const known = new Set(route.labels.map((label) => label.name));
  const foreign = route.examples.find(({ label }) => label !== undefined && !known.has(label));
  if (foreign !== undefined) reading.fault(`has the label ${foreign.label}, which is not among the labels`, "examples");
}

/** `{1}`, `{2}`… must be wildcards that the filter has. */
function namesWildcards(template: string, subscribed: string, reading: Reading, ...sub: (string | number)[]): void {
  const wildcards = wildcardsOf(subscribed).length;
  const named = [...template.matchAll(/\{(\d+)\}/g)].map((match) => Number(match[1]));
  const highest = Math.max(0, ...named);
  if (highest > wildcards) {
    reading.fault(`names {${highest}}, but ${subscribed} has only ${wildcards} of + and #`, ...sub);
  }
}

function wildcardsOf(filter: string): string[] {
  return withoutShare(filter)
    .split("/")
    .filter((level) => level === "+" || level === "#");
}
