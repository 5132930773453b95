// `pipit journal`: looks into the journal without touching it, beside the running daemon or after it. Payload text is shown
// only when asked for: what people ask a model is nobody's business by default.
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { loadConfig } from "../config/load.ts";
import { PipitError, toError } from "../core/errors.ts";
import { Book } from "../journal/book.ts";
import type { Entry } from "../journal/book.ts";
import { nodeDisk } from "../journal/disk.ts";
import { readJournal } from "../journal/reader.ts";
import type { JournalReading, SegmentReport } from "../journal/reader.ts";
import { replay } from "../journal/replay.ts";
import { EXIT } from "./command.ts";
import type { Command, CommandContext } from "./command.ts";

const HELP = `Usage: pipit journal <inspect | verify> [options]

  inspect   the segments, and the questions that are not settled
  verify    read every record; exit code 1 when something is damaged or was written by a later version

Changes nothing, and may be run while the daemon runs: a torn write at the end is then a write under way.

Options:
      --dir DIR                 journal directory (default: journal.dir of the configuration)
      --all                     inspect: settled questions too
      --payloads                inspect: the text of questions and replies too
${CONFIG_HELP}
      --json                    one JSON document on stdout
  -h, --help                    this text
`;

/** Nothing is forgotten for being old: what is on disk is shown. */
const EVERYTHING = { finishedKeys: Infinity, finishedMs: Infinity, replyBytes: Infinity };

export const command: Command = {
  name: "journal",
  summary: "look into the journal: inspect, verify",
  help: HELP,
  options: {
    ...CONFIG_OPTIONS,
    dir: { type: "string" },
    all: { type: "boolean" },
    payloads: { type: "boolean" },
  },
  async run(context) {
    const [verb, ...rest] = context.positionals;
    if ((verb !== "inspect" && verb !== "verify") || rest.length > 0) {
      context.stderr(`pipit journal takes inspect or verify, not "${context.positionals.join(" ")}"\n`);
      return EXIT.usage;
    }
    const directory = directoryOf(context);
    const { book, reading } = await read(directory);
    return verb === "inspect" ? inspect(context, directory, book, reading) : verify(context, directory, reading);
  },
};

function directoryOf({ values, env }: CommandContext): string {
  const { dir } = values;
  if (typeof dir === "string") return dir;
  return loadConfig({ env, args: values }).config.journal.dir;
}

async function read(directory: string): Promise<{ book: Book; reading: JournalReading }> {
  const book = new Book(EVERYTHING);
  const clock = { nowMs: () => 0, wallMs: () => Date.now(), after: () => () => undefined };
  try {
    const reading = await readJournal(nodeDisk, directory, (record, { segment }) =>
      replay(book, record, segment, clock),
    );
    return { book, reading };
  } catch (thrown) {
    const message = `cannot read the journal in ${directory}: ${toError(thrown).message}`;
    throw new PipitError("request", "journal_directory", message, { cause: thrown });
  }
}

function inspect(
  { values, json, stdout }: CommandContext,
  directory: string,
  book: Book,
  reading: JournalReading,
): number {
  const entries = [...book.entries()].sort((a, b) => a.order - b.order);
  const shown = entries.filter((entry) => values["all"] === true || entry.phase !== "settled");
  const rows = shown.map((entry) => rowOf(entry, values["payloads"] === true));
  const counts = { open: 0, unsettled: 0, settled: 0, dead: 0 };
  for (const { phase, dead } of entries) {
    counts[phase === "accepted" ? "open" : phase === "answered" ? "unsettled" : "settled"] += 1;
    if (dead) counts.dead += 1;
  }
  if (json) {
    stdout(`${JSON.stringify({ directory, ...reading, counts, questions: rows }, null, 2)}\n`);
    return EXIT.ok;
  }
  stdout(`${directory}\n\n${reading.segments.map(segmentLine).join("")}`);
  const { open, unsettled, settled, dead } = counts;
  stdout(`${open} open, ${unsettled} answered and not settled, ${settled} settled, ${dead} dead\n`);
  for (const row of rows) {
    const begun = row.starts > 0 ? `, begun ${row.starts}x` : "";
    const died = row.deaths > 0 ? `, the model's process died on it ${row.deaths}x` : "";
    stdout(
      `\n${row.key}\n  ${row.state}${begun}${died}, ${row.bytes ?? 0} bytes${row.topic === undefined ? "" : ` ${row.topic}`}\n`,
    );
    if (row.accepted !== undefined) stdout(`  accepted ${row.accepted}, deadline ${row.deadline}\n`);
    if (row.settled !== undefined) stdout(`  settled ${row.settled}\n`);
    if (row.payload !== undefined) stdout(`  ${row.payload}\n`);
  }
  return EXIT.ok;
}

function verify({ json, stdout }: CommandContext, directory: string, reading: JournalReading): number {
  const { segments, newerVersion } = reading;
  const damaged = segments.filter(({ damage }) => damage.length > 0);
  const ok = damaged.length === 0 && newerVersion === undefined;
  const records = segments.reduce((sum, segment) => sum + segment.records, 0);
  if (json) {
    stdout(`${JSON.stringify({ ok, directory, records, ...reading }, null, 2)}\n`);
    return ok ? EXIT.ok : EXIT.failed;
  }
  stdout(segments.map(segmentLine).join(""));
  if (newerVersion !== undefined) stdout(`written by a later version of pipit (format ${newerVersion})\n`);
  if (damaged.length > 0) stdout(`${damaged.length} of ${segments.length} segments are damaged\n`);
  if (ok) stdout(`ok: ${records} records in ${segments.length} segments\n`);
  return ok ? EXIT.ok : EXIT.failed;
}

function segmentLine({ name, fileBytes, usedBytes, records, tornBytes, damage }: SegmentReport): string {
  const torn = tornBytes > 0 ? `, torn write of ${tornBytes} bytes at the end` : "";
  const faults = damage.map((fault) => `  damage: ${fault}\n`).join("");
  return `${name}  ${records} records, ${usedBytes} of ${fileBytes} bytes used${torn}\n${faults}`;
}

interface QuestionRow {
  key: string;
  state: "accepted" | "answered" | "settled" | "dead";
  starts: number;
  deaths: number;
  topic?: string;
  bytes?: number;
  accepted?: string;
  deadline?: string;
  settled?: string;
  payload?: string;
}

function rowOf(entry: Entry, withPayload: boolean): QuestionRow {
  const { key, phase, dead, starts, deaths, question, reply, settled } = entry;
  const row: QuestionRow = { key, state: dead ? "dead" : phase, starts, deaths };
  const content = question ?? reply;
  if (content !== undefined) {
    row.topic = content.topic;
    row.bytes = content.payload.length;
    if (withPayload) row.payload = Buffer.from(content.payload).toString("utf8");
  }
  if (question !== undefined) {
    row.accepted = timeText(question.acceptedWallMs);
    row.deadline = timeText(question.deadlineWallMs);
  }
  if (settled !== undefined) row.settled = timeText(settled.wallMs);
  return row;
}

/** Times in records are whatever the clock said, or what damage left of it. */
function timeText(wallMs: number): string {
  const date = new Date(wallMs);
  return Number.isNaN(date.getTime()) ? String(wallMs) : date.toISOString();
}
