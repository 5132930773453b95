// Topic names of the wire contract (design.md §2) and the rules of MQTT topic filters (MQTT 5 §4.7).

/** The three things a model is asked to do, by the word used in topics. */
export const REQUEST_WORDS = ["ask", "classify", "extract"] as const;
export type RequestWord = (typeof REQUEST_WORDS)[number];

export interface Topics {
  base: string;
  device: string;
  root: string;
  request: Record<RequestWord, string>;
  feedback: string;
  cancel: string;
  control: string;
  controlResponse: string;
  availability: string;
  state: string;
  card: string;
  event: string;
  answer: string;
  label: string;
  record: string;
}

export function topicsOf(base: string, device: string): Topics {
  const root = `${base}/${device}`;
  return {
    base,
    device,
    root,
    request: { ask: `${root}/ask`, classify: `${root}/classify`, extract: `${root}/extract` },
    feedback: `${root}/feedback`,
    cancel: `${root}/cancel`,
    control: `${root}/control`,
    controlResponse: `${root}/control/response`,
    availability: `${root}/availability`,
    state: `${root}/state`,
    card: `${root}/card`,
    event: `${root}/event`,
    answer: `${root}/answer`,
    label: `${root}/label`,
    record: `${root}/record`,
  };
}

/**
 * Topics with a meaning of their own, of every agent of the site: a reply there would be a command, a question of another
 * agent, or a lie about its state.
 */
export function reservedFilters(base: string): string[] {
  const words = [...REQUEST_WORDS, "feedback", "cancel", "control/#", "availability", "state", "card", "event"];
  return [...words.map((word) => `${base}/+/${word}`), `${base}/pool/#`];
}

/**
 * The pieces of `topic` that the wildcards of `filter` stood for (`+` one level, `#` the rest), or undefined when the
 * filter does not match. Topics that begin with `$` match no filter that begins with a wildcard (MQTT 5 §4.7.2).
 */
export function matchFilter(filter: string, topic: string): string[] | undefined {
  const wanted = filter.split("/");
  const levels = topic.split("/");
  if (topic.startsWith("$") && (wanted[0] === "+" || wanted[0] === "#")) return undefined;
  const matches: string[] = [];
  for (const [index, part] of wanted.entries()) {
    if (part === "#") {
      // `a/#` also matches `a` itself.
      matches.push(levels.slice(index).join("/"));
      return matches;
    }
    const level = levels[index];
    if (level === undefined) {
      return undefined;
    }
    if (part === "+") matches.push(level);
    else if (part !== level) return undefined;
  }
  return levels.length === wanted.length ? matches : undefined;
}

/** There are topics that both filters match. */
export function filtersOverlap(one: string, other: string): boolean {
  const [a, b] = [one.split("/"), other.split("/")];
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const [left, right] = [a[index], b[index]];
    // `a/#` also matches `a` itself.
    if (left === "#" || right === "#") return true;
    if (left === undefined || right === undefined) return false;
    if (left !== right && left !== "+" && right !== "+") return false;
  }
  return true;
}

/** The filter behind `$share/<group>/…`, which is what topics are matched with. */
export function withoutShare(filter: string): string {
  if (!filter.startsWith("$share/")) return filter;
  return filter.split("/").slice(2).join("/");
}

/**
 * Characters that a broker may take for a malformed packet (MQTT 5 §1.5.4): it then cuts the connection that brought them, and
 * again after every reconnect. mosquitto 2.0 does so for all of these, and for more than 200 levels.
 */
const UNFIT = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u;
const MAX_LEVELS = 200;

/** What is wrong with a topic filter, or undefined. */
export function filterFault(filter: string): string | undefined {
  if (filter.length === 0) return "is empty";
  if (new TextEncoder().encode(filter).length > 65_535) return "is longer than 65535 bytes";
  if (filter.includes("\u0000")) return "contains a null character";
  if (UNFIT.test(filter)) return "contains a control character or one that is no character";
  const levels = filter.split("/");
  if (levels.length > MAX_LEVELS) return `has ${levels.length} levels, at most ${MAX_LEVELS} are allowed`;
  for (const [index, level] of levels.entries()) {
    if (level.includes("#") && (level !== "#" || index !== levels.length - 1))
      return "has `#` that is not its last level";
    if (level.includes("+") && level !== "+") return "has `+` inside a level";
  }
  return undefined;
}

/** What is wrong with a topic to publish to, or undefined. */
export function topicFault(topic: string): string | undefined {
  if (topic.includes("+") || topic.includes("#")) return "contains a wildcard";
  if (topic.startsWith("$")) return "begins with `$`";
  return filterFault(topic);
}

/** Fills `{1}`, `{2}`… of a reply template with what the wildcards matched. */
export function fillTemplate(template: string, matches: readonly string[]): string {
  return template.replace(/\{(\d+)\}/g, (_, digits: string) => matches[Number(digits) - 1] ?? "");
}
