// Keys of the daemon itself: what it may take from the board, what it keeps, what it says.
import { cronFault } from "./cron.ts";
import { directory, file } from "./key-files.ts";
import { list } from "./key-lists.ts";
import { choice, derived, integer, stateDirectory, text } from "./key.ts";

export const COURTESIES = ["low", "normal", "high"] as const;

export const governor = {
  courtesy: choice({
    doc: "How much of a busy board questions may take: `low` takes its share, `high` yields to any neighbour.",
    values: COURTESIES,
    default: "normal",
  }),
  nice: integer({
    doc: "How far the model's process stands back behind every other program: its nice level.",
    min: 0,
    max: 19,
    default: 0,
  }),
  sensors_root: directory({
    doc: "Root of the /proc and /sys trees that are read; another one for trying out a recorded board.",
    default: "/",
  }),
  trace_file: file({ doc: "File to record readings and decisions in, for `pipit replay`; none: nothing is recorded." }),
  calibrate_cron: text({
    doc: "When to measure the board again, if it is idle: cron expression in local time, or off: only when asked over MQTT.",
    default: "17 3 * * *",
    faultOf: (value) => (value === "off" ? undefined : cronFault(value)),
    takes: "a cron expression of 5 fields, or off",
  }),
};

const CONTROL_VERBS = ["plan", "pause", "resume", "calibrate"] as const;

export const control = {
  allow: list(choice({ doc: "Verb.", values: CONTROL_VERBS }), {
    doc: "Verbs that are obeyed on `control/<verb>`; none: nobody steers this agent over the bus.",
    default: CONTROL_VERBS,
    max: CONTROL_VERBS.length,
    takes: `of ${CONTROL_VERBS.join(", ")}`,
    identity: String,
  }),
};

export const state = {
  dir: derived(
    directory({ doc: "Where calibration, caches and the journal are kept.", shorthand: "state-dir" }),
    "$STATE_DIRECTORY (set by systemd), else ~/.local/state/pipit",
    ({ env, home }) => stateDirectory(env) ?? `${home}/.local/state/pipit`,
  ),
  interval_s: integer({
    doc: "How often the state topic is published while nothing changes.",
    min: 1,
    max: 86_400,
    unit: "s",
    default: 30,
  }),
};

export const journal = {
  dir: derived(
    directory({ doc: "Where accepted questions and their replies are kept until they are settled." }),
    "`journal` in state.dir",
    (of) => `${of.text("state.dir")}/journal`,
  ),
  durability: choice({
    doc:
      "What a question survives: `full` a power cut (synced before it is acknowledged), `relaxed` a crash of the agent, " +
      "`memory` neither.",
    values: ["full", "relaxed", "memory"],
    default: "full",
  }),
  max_bytes: integer({
    doc: "Most bytes of the journal on disk.",
    min: 1024 ** 2,
    max: 1024 ** 3,
    unit: "bytes",
    default: 16 * 1024 ** 2,
  }),
};

export const log = {
  level: choice({
    doc: "Least important lines that are written; texts of questions appear at debug only.",
    values: ["debug", "info", "warn", "error"],
    default: "info",
    shorthand: "log-level",
  }),
  format: choice({
    doc: "Form of the lines: json, pretty for people, or auto, which is pretty on a terminal.",
    values: ["auto", "json", "pretty"],
    default: "auto",
  }),
  redact: list(text({ doc: "Field." }), {
    doc: "Fields of log lines to hide besides those that hold secrets, as pino paths.",
    default: [],
    max: 64,
    takes: "field paths",
    identity: String,
  }),
};
