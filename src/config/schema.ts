// The one schema: from it come the type of the configuration, its checks, its environment variables and arguments, the
// reference in docs/config.md and the example in config/default.yaml. A new key is one entry in one of the schema files.
import type { DeepCamel } from "./camel.ts";
import type { SecretKey } from "./key-files.ts";
import type { ValuesOf } from "./key-lists.ts";
import type { Key } from "./key.ts";
import { broker, device } from "./schema-bus.ts";
import { limits } from "./schema-limits.ts";
import { routes } from "./schema-route.ts";
import { control, governor, journal, log, state } from "./schema-service.ts";
import { answer, classify, model, queue, sessions } from "./schema-work.ts";

export const sections = {
  device,
  broker,
  model,
  answer,
  sessions,
  classify,
  queue,
  limits,
  governor,
  control,
  state,
  journal,
  log,
};

export const SECTION_DOCS: Record<keyof typeof sections, string> = {
  device: "Who this agent is.",
  broker: "The MQTT broker.",
  model: "The models and the shape they are loaded in.",
  answer: "Answering questions, and limits that all tasks share.",
  sessions: "Conversations: questions with the same `session` know what was said before.",
  classify: "Sorting texts into labels.",
  queue: "What may wait for the model.",
  limits: "What senders may ask for; a route may say otherwise for itself.",
  governor: "What the agent may take from the board.",
  control: "What may be asked of the agent over the bus.",
  state: "What the agent keeps and tells.",
  journal: "Questions and replies that must not be lost.",
  log: "Log lines.",
};

/** The effective configuration as it stands in a file: snake_case. */
export type RawConfig = { readonly [S in keyof typeof sections]: ValuesOf<(typeof sections)[S]> } & ValuesOf<{
  routes: typeof routes;
}>;
/** The configuration as code sees it: camelCase, frozen. Secrets are apart, see SecretName. */
export type Config = DeepCamel<RawConfig>;
/** One entry of `routes`; everything but filter and task may be left out. */
export type RouteSettings = Config["routes"][number];

type Sections = typeof sections;
/** Names of the secrets that are read from files: `broker.password` is what `broker.password_file` holds. */
export type SecretName = {
  [S in keyof Sections]: {
    [K in keyof Sections[S]]: Sections[S][K] extends SecretKey ? SecretOf<`${S}.${K & string}`> : never;
  }[keyof Sections[S]];
}[keyof Sections];
type SecretOf<Path extends string> = Path extends `${infer Name}_file` ? Name : never;

export interface PlacedKey {
  /** `section.key`, or `routes`. */
  path: string;
  section: string;
  name: string;
  key: Key<unknown>;
  /** Environment variables that set it. */
  variables: readonly string[];
}

/** Every key in the order of the schema. */
export const allKeys: readonly PlacedKey[] = [
  ...Object.entries(sections).flatMap(([section, keys]) =>
    Object.entries<Key<unknown>>(keys).map(([name, key]) => placed(section, name, key)),
  ),
  placed("", "routes", routes),
];

export const keyAt: ReadonlyMap<string, PlacedKey> = new Map(allKeys.map((each) => [each.path, each]));

function placed(section: string, name: string, key: Key<unknown>): PlacedKey {
  const path = section === "" ? name : `${section}.${name}`;
  const variable = `PIPIT_${path.replace(".", "_").toUpperCase()}`;
  return { path, section, name, key, variables: [variable, ...(key.variables ?? [])] };
}
