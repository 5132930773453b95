// Keys of the model and of the tasks it is given. The bounds of a task's limits are shared with the routes.
import { classifier, type ClassifierSettings } from "./key-classifier.ts";
import { directory, file, model as modelKey } from "./key-files.ts";
import { examples, labels, list } from "./key-lists.ts";
import { replyFilters } from "./key-topics.ts";
import { decimal, derived, flag, integer, stateDirectory, text } from "./key.ts";

export const LIMITS = {
  maxTokens: { min: 1, max: 8192, unit: "tokens" },
  temperature: { min: 0, max: 2 },
  deadlineMs: { min: 100, max: 86_400_000, unit: "ms" },
  maxTextCharacters: { min: 1, max: 1_000_000, unit: "characters" },
  maxPayloadBytes: { min: 256, max: 16 * 1024 ** 2, unit: "bytes" },
} as const;
export const MAX_SYSTEM_CHARACTERS = 20_000;

export const model = {
  name: modelKey({
    doc: "The generative model: a name of the catalogue (`pipit models list`) or the path of a GGUF file; `none` for none.",
    default: "smollm2-135m-instruct-q4_1",
    variables: ["PIPIT_MODEL"],
    shorthand: "model",
  }),
  encoder: modelKey({
    doc: "The model that turns texts into vectors, for classification in milliseconds; `none` for none.",
    default: "all-minilm-l6-v2-q8_0",
  }),
  dir: derived(
    directory({ doc: "Where model files are stored.", variables: ["PIPIT_MODELS_DIR"], shorthand: "models-dir" }),
    "`models` in $STATE_DIRECTORY (set by systemd), else ~/.local/share/pipit/models",
    ({ env, home }) => `${stateDirectory(env) ?? `${home}/.local/share/pipit`}/models`,
  ),
  catalogue_file: file({ doc: "Catalogue with models of your own, added to the one that Pipit brings." }),
  ladder: list(modelKey({ doc: "Model." }), {
    doc: "Smaller models to step down to when memory is short, the largest first; `none` last: unload.",
    default: [],
    max: 8,
    takes: "models",
    identity: String,
  }),
  context_tokens: integer({
    doc: "Tokens that a question and its answer may have together.",
    min: 128,
    max: 131_072,
    unit: "tokens",
    zero: "planned from free memory",
    default: 0,
  }),
  batch_tokens: integer({
    doc: "Most tokens evaluated in one step that cannot be interrupted.",
    min: 8,
    max: 2048,
    unit: "tokens",
    zero: "planned",
    default: 0,
  }),
  sequences: integer({ doc: "Questions answered side by side.", min: 1, max: 16, zero: "planned", default: 0 }),
  threads: integer({
    doc: "Fixed number of compute threads.",
    min: 1,
    max: 256,
    zero: "governed by what the board has free",
    default: 0,
  }),
  idle_unload_s: integer({
    doc: "Unload the model after this time without a question.",
    min: 10,
    max: 604_800,
    unit: "s",
    zero: "never",
    default: 0,
  }),
};

export const answer = {
  system: text({
    doc: "System text of questions: who the model is and what it shall do.",
    // Of eight texts tried with SmolLM2-135M on 24 questions, this one had most right answers (21) in the fewest tokens.
    default: "You are a helpful assistant. Answer in one short sentence.",
    maxCharacters: MAX_SYSTEM_CHARACTERS,
    empty: true,
  }),
  max_tokens: integer({ doc: "Longest answer.", ...LIMITS.maxTokens, default: 256 }),
  temperature: decimal({
    doc: "How freely words are chosen: 0 for the same answer every time, more for variety.",
    ...LIMITS.temperature,
    default: 0,
  }),
  deadline_ms: integer({
    doc: "Longest wait for a reply of any task, from arrival; a request may ask for less.",
    ...LIMITS.deadlineMs,
    default: 60_000,
  }),
  max_text_characters: integer({
    doc: "Longest text a request of any task may carry; more is refused as `too_long`.",
    ...LIMITS.maxTextCharacters,
    default: 4000,
  }),
  allow_reply_to: replyFilters({
    doc: "Reply topics a request may name, as topic filters. The default allows every topic: narrow it where askers are not trusted.",
    default: ["#"],
  }),
  stream_interval_ms: integer({
    doc: "Pieces of a streamed answer are gathered for this long before they are published.",
    min: 0,
    max: 60_000,
    unit: "ms",
    default: 150,
  }),
};

export const sessions = {
  max: integer({
    doc: "Most conversations that are remembered, in memory only; one sender gets a quarter of the places.",
    min: 1,
    max: 10_000,
    zero: "none: `session` in a request is ignored",
    default: 64,
  }),
  max_bytes: integer({
    doc: "Most bytes of text of one conversation; the oldest turns fall out.",
    min: 256,
    max: 1024 ** 2,
    unit: "bytes",
    default: 16_384,
  }),
  idle_s: integer({
    doc: "A conversation that nobody continues is forgotten after this time.",
    min: 1,
    max: 604_800,
    unit: "s",
    default: 1800,
  }),
};

export const classify = {
  system: text({
    doc: "System text of classification.",
    default: "Classify each message. Answer with one label and nothing else.",
    maxCharacters: MAX_SYSTEM_CHARACTERS,
    empty: true,
  }),
  classifier: text({
    doc: "Classifier that sorts the texts of routes which name none: one of `classifiers`, or a file of their folder.",
    pattern: /^[A-Za-z0-9_.-]{1,64}$/,
    takes: "1 to 64 of the characters A-Z a-z 0-9 _ . -",
  }),
  classifiers: list(classifier({ doc: "Classifier." }), {
    doc: "Classifiers by name, for routes and for `classify.classifier`; each may as well be a file `<name>.yaml` in the folder `classifiers` of state.dir.",
    default: [],
    max: 64,
    takes: "classifiers, see docs/classification.md",
    identity: (item) => (item as ClassifierSettings).name,
  }),
  labels: labels({ doc: "Labels where neither the route nor the request names any.", default: [] }),
  examples: examples({ doc: "Labelled texts to learn those labels from.", default: [] }),
  threshold: decimal({
    doc: "Abstain (`label: null`) below this confidence.",
    min: 0,
    max: 1,
    default: 0,
  }),
  truncate: flag({
    doc: "Classify a text that is too long for the encoder by its beginning, and say `truncated` in the reply; else `too_long`.",
    default: false,
  }),
  feedback_per_hour: integer({
    doc: "Examples a classifier learns from feedback within an hour; more are refused, so that nobody turns it over.",
    min: 0,
    max: 10_000,
    unit: "examples",
    default: 60,
  }),
};

export const queue = {
  max_questions: integer({
    doc: "Most questions waiting; more are refused as `busy`. One sender alone gets at most three quarters of the places.",
    min: 1,
    max: 100_000,
    default: 64,
  }),
  max_bytes: integer({
    doc: "Most bytes that the messages of waiting questions may have together; more are refused as `busy`.",
    min: 1024,
    max: 1024 ** 3,
    unit: "bytes",
    default: 4 * 1024 ** 2,
  }),
  max_wait_ms: integer({
    doc: "Longest expected wait before work on a question begins; more are refused as `busy`, however long they would wait.",
    min: 100,
    max: 86_400_000,
    unit: "ms",
    default: 600_000,
  }),
  max_payload_bytes: integer({
    doc: "Largest payload of a request; more is refused as `too_large`.",
    ...LIMITS.maxPayloadBytes,
    default: 65_536,
  }),
};
