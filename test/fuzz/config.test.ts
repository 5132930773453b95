// Configurations nobody would write: problems, with the place they are at, and nothing thrown.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkConfig } from "../../src/config/load.ts";
import { keyName, problemLine } from "../../src/config/setting.ts";
import { routeKeys } from "../../src/config/schema-route.ts";
import { allKeys, keyAt, sections } from "../../src/config/schema.ts";
import { parseYaml } from "../../src/config/yaml-file.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";
import { fuzz, TIMEOUT_MS } from "./fuzz.ts";
import { anyJson, pick, wordy } from "./mutate.ts";
import { yaml } from "./yaml.ts";

const PATHS = allKeys.map(({ path }) => path);
const NAMES = [
  ...new Set([
    ...Object.keys(sections),
    ...allKeys.map(({ name }) => name),
    ...Object.keys(routeKeys),
    "__proto__",
    "<<",
  ]),
];
const SOUND = [
  "broker:\n  url: mqtts://broker:8883\n  username: pi\n  insecure: no\nqueue: { max_questions: 8, max_bytes: 1MiB }\n",
  "routes:\n  - name: bell\n    filter: $share/g/home/+/bell\n    task: classify\n    labels: [parcel, { name: visitor }]\n    sender: '{1}'\n    priority: 9\n",
  "classify:\n  labels: &l [a, b]\n  examples:\n    - { text: on, label: a }\nlimits:\n  sender: property:user\ncontrol: { allow: [plan] }\n",
].map((text) => Buffer.from(text));

test("the configuration: text and keys", { timeout: TIMEOUT_MS }, async () => {
  await fuzz({
    name: "the configuration: text and keys",
    make: (random) => yaml(random, SOUND, NAMES),
    run(bytes) {
      const { settings, problems } = parseYaml(Buffer.from(bytes).toString(), "/nonexistent/pipit.yaml");
      const faults = problems.map(problemLine);
      for (const { path, value, directory, where } of settings) {
        const key = keyAt.get(path)?.key;
        const fault = (message: string, ...sub: (string | number)[]) =>
          void faults.push(problemLine({ key: keyName(path, sub), message, source: where(sub) }));
        const given = typeof value === "string" ? key?.parse(value) : value;
        const checked = key?.check(given, { directory, home: "/nonexistent", fault, warn: fault });
        // What a check has accepted it accepts again.
        if (faults.length === 0 && checked !== undefined)
          key?.check(checked, { directory, home: "/nonexistent", fault, warn: fault });
        if (key === undefined) faults.push("unknown");
      }
      expect(faults.every((line) => line.length > 0)).toBe(true);
      return faults.length > 0 ? "refused" : "taken";
    },
    show: (bytes) => Buffer.from(bytes).toString(),
  });
});

// With environment, arguments and the rules between keys: half a millisecond each, hence fewer.
test("the configuration: as a whole", { timeout: TIMEOUT_MS }, async () => {
  const file = join(await temporaryDirectory(), "pipit.yaml");
  await fuzz({
    name: "the configuration: as a whole",
    part: 1 / 8,
    make(random) {
      const env: NodeJS.ProcessEnv = { HOME: "/nonexistent" };
      const value = () => (random.chance(0.5) ? wordy(random, NAMES, 3) : JSON.stringify(anyJson(random, NAMES)));
      if (random.chance(0.3)) env[pick(random, pick(random, allKeys).variables)] = value();
      const set = random.chance(0.3)
        ? [`${random.chance(0.9) ? pick(random, PATHS) : wordy(random, PATHS, 2)}=${value()}`]
        : [];
      return { yaml: yaml(random, SOUND, NAMES), env, set };
    },
    run({ yaml, env, set }) {
      writeFileSync(file, yaml);
      const { problems, raw } = checkConfig({ file, env, args: { set } });
      for (const problem of problems) expect(problemLine(problem).length).toBeGreaterThan(0);
      expect(raw.queue.max_questions).toBeGreaterThan(0);
      return problems.length > 0 ? "refused" : "taken";
    },
  });
});
