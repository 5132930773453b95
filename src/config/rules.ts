// Rules between keys: each key is right by itself, together they cannot work or are not safe.
import { matchFilter, topicsOf, withoutShare } from "../core/topics.ts";
import type { RawConfig } from "./schema.ts";

export interface Finding {
  severity: "problem" | "warning";
  /** The key to change, and the part of it. */
  path: string;
  sub?: (string | number)[];
  message: string;
}

interface Rule {
  /** Keys it reads; it is not asked while one of them is faulty. */
  paths: string[];
  /** Findings; `isSet` tells whether somebody wrote the key. */
  check(config: RawConfig, isSet: (path: string) => boolean): Finding[];
}

const RULES: Rule[] = [
  {
    paths: ["broker.username", "broker.password_file"],
    // MQTT 3.1.1 forbids a password without a user name (MQTT-3.1.2-22).
    check: ({ broker }) =>
      broker.password_file !== undefined && broker.username === undefined
        ? [problem("broker.username", "is missing although broker.password_file is set")]
        : [],
  },
  {
    paths: ["broker.cert_file", "broker.key_file"],
    check: ({ broker }) => bothOrNone(["broker.cert_file", broker.cert_file], ["broker.key_file", broker.key_file]),
  },
  {
    paths: ["broker.embedded_cert_file", "broker.embedded_key_file"],
    check: ({ broker }) =>
      bothOrNone(
        ["broker.embedded_cert_file", broker.embedded_cert_file],
        ["broker.embedded_key_file", broker.embedded_key_file],
      ),
  },
  {
    paths: ["broker.url", "broker.insecure", "broker.embedded"],
    check: ({ broker }) =>
      broker.insecure
        ? [
            warning(
              "broker.insecure",
              "is on: the certificate of the broker is not checked, anybody between can listen",
            ),
          ]
        : [],
  },
  {
    paths: ["broker.url", "broker.password_file", "broker.embedded"],
    check: ({ broker }) =>
      broker.password_file !== undefined && !broker.embedded && isPlainAndFar(broker.url)
        ? [warning("broker.url", "sends the password unencrypted: use mqtts:// or wss://")]
        : [],
  },
  {
    paths: ["broker.url", "broker.embedded"],
    check: ({ broker }, isSet) =>
      broker.embedded && isSet("broker.url")
        ? [warning("broker.url", "is not used while broker.embedded is true")]
        : [],
  },
  {
    paths: ["broker.embedded", "broker.embedded_host", "broker.embedded_users_file"],
    check: ({ broker }) =>
      broker.embedded && broker.embedded_users_file === undefined && !isLoopback(broker.embedded_host)
        ? [
            warning(
              "broker.embedded_host",
              `is ${broker.embedded_host} without users: everybody on that network can use the broker`,
            ),
          ]
        : [],
  },
  {
    paths: ["model.batch_tokens", "model.context_tokens"],
    check: ({ model }) =>
      model.context_tokens > 0 && model.batch_tokens > model.context_tokens
        ? [
            problem(
              "model.batch_tokens",
              `must be at most model.context_tokens (${model.context_tokens}), is ${model.batch_tokens}`,
            ),
          ]
        : [],
  },
  {
    paths: ["answer.max_tokens", "model.context_tokens"],
    check: ({ model, answer }) =>
      model.context_tokens > 0 && answer.max_tokens >= model.context_tokens
        ? [
            problem(
              "answer.max_tokens",
              `must be below model.context_tokens (${model.context_tokens}), is ${answer.max_tokens}`,
            ),
          ]
        : [],
  },
  {
    paths: ["queue.max_bytes", "journal.max_bytes", "journal.durability"],
    // Half of the journal is for what is not answered yet; what it cannot take stays with the broker, without a `busy`.
    check: ({ queue, journal }, isSet) =>
      isSet("queue.max_bytes") && journal.durability !== "memory" && queue.max_bytes > journal.max_bytes / 2
        ? [
            warning(
              "queue.max_bytes",
              `is more than half of journal.max_bytes (${journal.max_bytes}): questions beyond that are not refused but wait at the broker`,
            ),
          ]
        : [],
  },
  {
    paths: ["classify.labels", "classify.examples"],
    check({ classify }) {
      const known = new Set(classify.labels.map((label) => label.name));
      const foreign = classify.examples.find((example) => !known.has(example.label));
      if (foreign === undefined) return [];
      return [problem("classify.examples", `has the label ${foreign.label}, which is not in classify.labels`)];
    },
  },
  { paths: ["routes", "device.id", "device.base_topic"], check: ownTopics },
  { paths: ["routes"], check: routeNames },
];

/** What is wrong between keys; rules about a key in `faulty` are left out. */
export function findings(config: RawConfig, isSet: (path: string) => boolean, faulty: ReadonlySet<string>): Finding[] {
  return RULES.filter(({ paths }) => !paths.some((path) => faulty.has(path))).flatMap((rule) =>
    rule.check(config, isSet),
  );
}

/** A route that reads what this agent writes would make it answer itself without end. */
function ownTopics({ routes, device }: RawConfig): Finding[] {
  const topics = topicsOf(device.base_topic, device.id);
  const written = [
    topics.answer,
    topics.label,
    topics.record,
    topics.availability,
    topics.state,
    topics.card,
    topics.event,
    topics.controlResponse,
  ];
  return routes.flatMap(({ filter }, index) => {
    const own = written.find((topic) => matchFilter(withoutShare(filter), topic) !== undefined);
    if (own === undefined) return [];
    const message = `matches ${own}, which this agent writes: it would answer itself`;
    return [{ severity: "problem", path: "routes", sub: [index, "filter"], message }];
  });
}

function routeNames({ routes }: RawConfig): Finding[] {
  const names = routes.map((route) => route.name);
  return names.flatMap((name, index) => {
    const first = names.indexOf(name);
    if (name === undefined || first === index) return [];
    const message = `repeats the name of routes[${first}]: ${name}`;
    return [{ severity: "problem", path: "routes", sub: [index, "name"], message }];
  });
}

function bothOrNone(...[one, other]: [Named, Named]): Finding[] {
  if ((one[1] === undefined) === (other[1] === undefined)) return [];
  const [missing, present] = one[1] === undefined ? [one, other] : [other, one];
  return [problem(missing[0], `is missing although ${present[0]} is set`)];
}

type Named = [path: string, value: string | undefined];

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || host.startsWith("127.");
}

function isPlainAndFar(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return (protocol === "mqtt:" || protocol === "ws:") && !isLoopback(hostname);
}

function problem(path: string, message: string): Finding {
  return { severity: "problem", path, message };
}

function warning(path: string, message: string): Finding {
  return { severity: "warning", path, message };
}
