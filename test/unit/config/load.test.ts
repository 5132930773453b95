import { hostname } from "node:os";
import { describe, expect, it } from "vitest";
import { checkConfig, loadConfig } from "../../../src/config/load.ts";
import { allKeys } from "../../../src/config/schema.ts";
import { problemLine } from "../../../src/config/setting.ts";
import { PipitError } from "../../../src/core/errors.ts";
import { tempDirectory } from "./temp.ts";

const HOME = { HOME: "/home/somebody" };

/** Problems of a YAML text, as printed, with the directory of the file left out. */
function problemsOf(yaml: string, env: NodeJS.ProcessEnv = {}, args = {}): string[] {
  const temp = tempDirectory();
  const file = temp.write("pipit.yaml", yaml);
  return checkConfig({ file, env: { ...HOME, ...env }, args }).problems.map((problem) =>
    problemLine(problem).replaceAll(`${temp.path}/`, ""),
  );
}

describe("defaults", () => {
  it("loads without any file, variable or argument", () => {
    const { config, warnings } = loadConfig({ env: HOME });
    expect(warnings).toEqual([]);
    expect(config.broker.url).toBe("mqtt://127.0.0.1:1883");
    expect(config.model.name).toBe("smollm2-135m-instruct-q4_1");
    expect(config.model.encoder).toBe("all-minilm-l6-v2-q8_0");
    expect(config.broker.passwordFile).toBeUndefined();
    expect(config.routes).toEqual([]);
    expect(config.control.allow).toEqual(["plan", "pause", "resume", "calibrate"]);
    expect(config.answer.allowReplyTo).toEqual(["#"]);
  });

  it("derives identity and directories from the machine and from each other", () => {
    const { config } = loadConfig({ env: { ...HOME, PIPIT_DEVICE_ID: "pi-7" } });
    expect(config.broker.clientId).toBe("pipit-pi-7");
    expect(config.model.dir).toBe("/home/somebody/.local/share/pipit/models");
    expect(config.state.dir).toBe("/home/somebody/.local/state/pipit");
    expect(config.journal.dir).toBe("/home/somebody/.local/state/pipit/journal");
    expect(loadConfig({ env: HOME }).config.device.id).toBe(
      hostname()
        .replaceAll(/[^A-Za-z0-9_.-]/g, "-")
        .slice(0, 64),
    );
  });

  it("keeps everything in the directory that systemd made for the service", () => {
    const { config } = loadConfig({ env: { ...HOME, STATE_DIRECTORY: "/var/lib/pipit:/var/lib/other" } });
    expect(config.model.dir).toBe("/var/lib/pipit/models");
    expect(config.journal.dir).toBe("/var/lib/pipit/journal");
  });

  it("is frozen all the way down", () => {
    const { config } = loadConfig({
      env: { ...HOME, PIPIT_ROUTES: '[{"filter":"a","task":"classify","labels":["x"]}]' },
    });
    const label = config.routes[0]?.labels?.[0];
    expect([config, config.broker, config.routes, config.routes[0], label].every(Object.isFrozen)).toBe(true);
    expect(label).toEqual({ name: "x" });
  });
});

describe("precedence", () => {
  it("puts arguments over the environment over the file, and tells the source of each", () => {
    const temp = tempDirectory();
    const file = temp.write(
      "pipit.yaml",
      "answer:\n  # words\n  max_tokens: 10\n  deadline_ms: 1000\n  temperature: 1\n",
    );
    const env = { ...HOME, PIPIT_CONFIG: file, PIPIT_ANSWER_MAX_TOKENS: "20", PIPIT_ANSWER_DEADLINE_MS: "2000" };
    const request = { env, args: { set: ["answer.max_tokens=30"] } };
    expect(loadConfig(request).config.answer).toMatchObject({ maxTokens: 30, deadlineMs: 2000, temperature: 1 });
    const { sources } = checkConfig(request);
    expect(sources.get("answer.max_tokens")).toBe("--set answer.max_tokens");
    expect(sources.get("answer.deadline_ms")).toBe("PIPIT_ANSWER_DEADLINE_MS");
    expect(sources.get("answer.temperature")).toBe(`${file}:5`);
    expect(sources.has("answer.system")).toBe(false);
  });

  it("prefers the file of --config over PIPIT_CONFIG", () => {
    const temp = tempDirectory();
    const one = temp.write("one.yaml", "queue: { max_questions: 1 }\n");
    const two = temp.write("two.yaml", "queue: { max_questions: 2 }\n");
    const { config, file } = loadConfig({ env: { ...HOME, PIPIT_CONFIG: one }, args: { config: two } });
    expect([config.queue.maxQuestions, file]).toEqual([2, two]);
  });

  it("reads the variables of the operating contract", () => {
    const temp = tempDirectory();
    const env = {
      ...HOME,
      PIPIT_BROKER_URL: "wss://example.org/mqtt",
      PIPIT_BROKER_USERNAME: "pi",
      PIPIT_BROKER_PASSWORD_FILE: temp.write("secret", "hunter2\n"),
      PIPIT_DEVICE_ID: "pi-1",
      PIPIT_STATE_DIR: "/tmp/state",
      PIPIT_MODEL: "smollm2-360m",
      PIPIT_MODELS_DIR: "/tmp/models",
    };
    const { config, warnings, secret } = loadConfig({ env });
    expect(warnings).toEqual([]);
    expect(config.broker).toMatchObject({ url: "wss://example.org/mqtt", username: "pi" });
    expect(config.device.id).toBe("pi-1");
    expect(config.state.dir).toBe("/tmp/state");
    expect(config.model).toMatchObject({ name: "smollm2-360m", dir: "/tmp/models" });
    expect(secret("broker.password")).toBe("hunter2");
  });

  it("gives every key one variable, and no variable to two keys", () => {
    const variables = allKeys.flatMap((placed) => placed.variables);
    expect(variables).toContain("PIPIT_QUEUE_MAX_PAYLOAD_BYTES");
    expect(new Set(variables).size).toBe(variables.length);
  });

  it("takes shorthands for arguments, flags without a value", () => {
    const args = { broker: "mqtt://other", embedded: true, "log-level": "debug" };
    const { config } = loadConfig({ env: HOME, args });
    expect([config.broker.embedded, config.log.level, config.broker.url]).toEqual([true, "debug", "mqtt://other"]);
  });

  it("counts an empty variable as unset and an empty key of the file as its default", () => {
    const temp = tempDirectory();
    const file = temp.write("pipit.yaml", "broker:\n  username:\n  keepalive_s: 40\nanswer:\n");
    const { config } = loadConfig({ file, env: { ...HOME, PIPIT_BROKER_KEEPALIVE_S: "" } });
    expect(config.broker.keepaliveS).toBe(40);
    expect(config.broker.username).toBeUndefined();
  });
});

describe("values as text", () => {
  it("reads numbers, flags, sizes, JSON and lists with commas", () => {
    const env = {
      ...HOME,
      PIPIT_ANSWER_TEMPERATURE: "0.7",
      PIPIT_BROKER_INSECURE: "yes",
      PIPIT_JOURNAL_MAX_BYTES: "2 MiB",
      PIPIT_LOG_REDACT: "a, b.c",
      PIPIT_BROKER_PROTOCOL_VERSION: "4",
      PIPIT_CLASSIFY_LABELS: '["warm", {"name": "cold", "description": "below 10 degrees"}]',
      PIPIT_ROUTES: '[{"filter": "a/+", "task": "answer", "reply_topic": "b/{1}", "max_tokens": 9}]',
    };
    const { config } = loadConfig({ env });
    expect(config.answer.temperature).toBe(0.7);
    expect(config.broker.insecure).toBe(true);
    expect(config.journal.maxBytes).toBe(2_097_152);
    expect(config.log.redact).toEqual(["a", "b.c"]);
    expect(config.broker.protocolVersion).toBe(4);
    expect(config.classify.labels).toEqual([{ name: "warm" }, { name: "cold", description: "below 10 degrees" }]);
    expect(config.routes).toEqual([{ filter: "a/+", task: "answer", replyTopic: "b/{1}", maxTokens: 9 }]);
  });

  it("starts relative paths from the file they stand in", () => {
    const temp = tempDirectory();
    temp.write("ca.pem", "certificate");
    const file = temp.write(
      "pipit.yaml",
      "broker: { ca_file: ca.pem }\nstate: { dir: ./state }\nmodel: { dir: ~/models }\n",
    );
    const { config } = loadConfig({ file, env: HOME });
    expect(config.broker.caFile).toBe(`${temp.path}/ca.pem`);
    expect(config.state.dir).toBe(`${temp.path}/state`);
    expect(config.model.dir).toBe("/home/somebody/models");
  });
});

describe("problems", () => {
  it("names key, bound, value and place of every one at once, in one error of kind config", () => {
    const temp = tempDirectory();
    const file = temp.write("pipit.yaml", "broker:\n  keepalive_s: 0\nlog:\n  level: loud\n");
    const env = { ...HOME, PIPIT_QUEUE_MAX_QUESTIONS: "many" };
    const load = () => loadConfig({ file, env, args: { set: ["answer.temperature=3", "queue.max_questions"] } });
    expect(load).toThrow(PipitError);
    expect(load).toThrow(expect.objectContaining({ kind: "config", code: "config_invalid" }) as Error);
    expect(load).toThrow(
      [
        "the configuration has 5 problems:",
        "  queue.max_questions: needs a value: --set section.key=value (--set)",
        `  broker.keepalive_s: must be a whole number from 5 to 65535 s, is 0 (${file}:2)`,
        `  log.level: must be one of debug, info, warn, error, is "loud" (${file}:4)`,
        '  queue.max_questions: must be a whole number from 1 to 100000, is "many" (PIPIT_QUEUE_MAX_QUESTIONS)',
        "  answer.temperature: must be a number from 0 to 2, is 3 (--set answer.temperature)",
      ].join("\n"),
    );
  });

  it("finds a wrong line of the file although the environment overrides it", () => {
    expect(problemsOf("log:\n  level: loud\n", { PIPIT_LOG_LEVEL: "warn" })).toHaveLength(1);
  });

  it.each([
    [
      "broker: { keepalive: 3 }",
      "broker.keepalive: is not a known key; did you mean broker.keepalive_s? (pipit.yaml:1)",
    ],
    ["brokr: { url: x }", "brokr.url: is not a known key; did you mean broker.url? (pipit.yaml:1)"],
    ["model: { context: 512 }", "model.context: is not a known key; did you mean model.context_tokens? (pipit.yaml:1)"],
    ["\nurl: mqtt://x", "url: is not a known key; did you mean broker.url? (pipit.yaml:2)"],
    ["route: []", "route: is not a known key; did you mean routes? (pipit.yaml:1)"],
    [
      "queue: { temperature: 1 }",
      "queue.temperature: is not a known key; did you mean answer.temperature? (pipit.yaml:1)",
    ],
    ["zzzzzzzz: 1", "zzzzzzzz: is not a known key (pipit.yaml:1)"],
    ["__proto__: { url: 1 }", "__proto__.url: is not a known key; did you mean broker.url? (pipit.yaml:1)"],
    ["log: debug", 'log: must be a section with keys below it, is "debug" (pipit.yaml:1)'],
  ])("refuses the unknown or misplaced key of %j", (yaml, line) => {
    expect(problemsOf(yaml)).toEqual([line]);
  });

  it("never shows the value of an unknown key, which may be a secret in the wrong place", () => {
    const [line] = problemsOf("broker: { password: hunter2 }");
    expect(line).toBe("broker.password: is not a known key; did you mean broker.password_file? (pipit.yaml:1)");
  });

  it("warns of variables of ours that set nothing", () => {
    const { warnings } = loadConfig({ env: { ...HOME, PIPIT_BROKER_PASWORD: "x", PIPIT_MODLE: "y", OTHER: "z" } });
    expect(warnings).toEqual([
      "PIPIT_BROKER_PASWORD: sets nothing; did you mean PIPIT_BROKER_PASSWORD_FILE? (environment)",
      "PIPIT_MODLE: sets nothing; did you mean PIPIT_MODEL? (environment)",
    ]);
  });

  it("says when the file is not there", () => {
    expect(() => loadConfig({ file: "/nowhere/pipit.yaml", env: HOME })).toThrow(
      "the configuration does not exist (/nowhere/pipit.yaml)",
    );
  });

  it("prints a bounded message however many problems there are", () => {
    const yaml = Array.from({ length: 5000 }, (_, index) => `key${index}: 1`).join("\n");
    const file = tempDirectory().write("pipit.yaml", yaml);
    expect(() => loadConfig({ file, env: HOME })).toThrow(/and 4950 more$/);
  });

  it("asks for quotes where text looks like a number, and for text where it is a list", () => {
    expect(problemsOf("device:\n  id: 0042\n  base_topic: []\n")).toEqual([
      "device.id: must be text: put 42 in quotes (pipit.yaml:2)",
      "device.base_topic: must be text of 1 to 200 characters, is [] (pipit.yaml:3)",
    ]);
  });

  it.each([
    [
      "broker: { url: 'mqtt://pi:hunter2@host' }",
      /^broker.url: must not carry a user name or password: use broker.username/,
    ],
    ["control: { allow: [plan, reboot] }", /^control.allow\[1\]: must be one of plan, pause, .* is "reboot"/],
    ["answer: { allow_reply_to: [replies/#/x] }", /^answer.allow_reply_to\[0\]: must be a topic filter/],
    ["broker: { url: 'http://host' }", /^broker.url: must be an address that begins with mqtt:/],
    ["broker: { url: 'pi:hunter2@host' }", /^broker.url: must be an address .* is "…@host"/],
    ["device: { id: 'a/b' }", /^device.id: must be 1 to 64 of the characters/],
    ["device: { base_topic: 'a/+' }", /must not contain a wildcard/],
    ["device: { base_topic: '/a' }", /must not have an empty level/],
    ["model: { name: ./none.gguf }", /names a file that does not exist/],
    [
      "model: { context_tokens: 100 }",
      /must be 0 \(planned from free memory\) or a whole number from 128 to 131072 tokens, is 100/,
    ],
    ["governor: { calibrate_cron: '0 25 * * *' }", /wrong hour \(0 to 23\)/],
    ["classify: { labels: [a, b, a] }", /^classify.labels\[2\]: repeats item 1: "a"/],
    ["classify: { labels: [a, ''] }", /^classify.labels\[1\].name: must be text of 1 to 100 characters/],
  ])("refuses %s", (yaml, line) => {
    expect(problemsOf(yaml)).toEqual([expect.stringMatching(line)]);
  });

  it("refuses more than 64 labels", () => {
    const labels = Array.from({ length: 65 }, (_, index) => `l${index}`);
    expect(problemsOf(`classify: { labels: [${labels.join(", ")}] }`)).toEqual([
      "classify.labels: must have at most 64 items, has 65 (pipit.yaml:1)",
    ]);
  });
});

describe("rules between keys", () => {
  it("asks for the other half of a pair", () => {
    const temp = tempDirectory();
    const secret = temp.write("p", "x");
    const { problems } = checkConfig({
      env: { ...HOME, PIPIT_BROKER_PASSWORD_FILE: secret, PIPIT_BROKER_KEY_FILE: secret },
    });
    expect(problems.map((each) => each.key)).toEqual(["broker.username", "broker.cert_file"]);
    const embedded = checkConfig({ env: { ...HOME, PIPIT_BROKER_EMBEDDED_CERT_FILE: secret } });
    expect(embedded.problems.map((each) => each.key)).toEqual(["broker.embedded_key_file"]);
  });

  it("does not ask for it when the other half is there but faulty", () => {
    const temp = tempDirectory();
    const env = { ...HOME, PIPIT_BROKER_PASSWORD_FILE: temp.write("p", "x"), PIPIT_BROKER_USERNAME: "u".repeat(300) };
    expect(checkConfig({ env }).problems.map((each) => each.key)).toEqual(["broker.username"]);
  });

  it("refuses answers longer than the context", () => {
    expect(problemsOf("model: { context_tokens: 256, batch_tokens: 512 }")).toEqual([
      "model.batch_tokens: must be at most model.context_tokens (256), is 512 (pipit.yaml:1)",
      "answer.max_tokens: must be below model.context_tokens (256), is 256 (default)",
    ]);
  });

  it.each([
    [{ PIPIT_BROKER_INSECURE: "1" }, /^broker.insecure: is on/],
    [{ PIPIT_BROKER_EMBEDDED: "1", PIPIT_BROKER_URL: "mqtt://x" }, /^broker.url: is not used while broker.embedded/],
    [
      { PIPIT_BROKER_EMBEDDED: "1", PIPIT_BROKER_EMBEDDED_HOST: "0.0.0.0" },
      /everybody on that network can use the broker/,
    ],
  ])("warns of %j", (env, warning) => {
    expect(loadConfig({ env: { ...HOME, ...env } }).warnings).toEqual([expect.stringMatching(warning)]);
  });

  it("warns of a queue that the journal cannot hold", () => {
    const warnings = (set: string[]) => loadConfig({ env: HOME, args: { set } }).warnings;
    expect(warnings(["queue.max_bytes=9MiB"])[0]).toContain("queue.max_bytes: is more than half of journal.max_bytes");
    expect(warnings(["queue.max_bytes=9MiB", "journal.max_bytes=32MiB"])).toEqual([]);
    expect(warnings(["queue.max_bytes=9MiB", "journal.durability=memory"])).toEqual([]);
    expect(warnings(["journal.max_bytes=1MiB"])).toEqual([]);
  });
});
