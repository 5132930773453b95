// Checks a cron expression when the configuration is read; whoever runs the schedule parses it for good.

const FIELDS = [
  { name: "minute", min: 0, max: 59, words: [] },
  { name: "hour", min: 0, max: 23, words: [] },
  { name: "day of month", min: 1, max: 31, words: [] },
  {
    name: "month",
    min: 1,
    max: 12,
    words: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  },
  { name: "day of week", min: 0, max: 7, words: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
] as const;

/** What is wrong with a cron expression of five fields, or undefined. */
export function cronFault(expression: string): string | undefined {
  const written = expression.trim().split(/\s+/);
  if (written.length !== FIELDS.length) return `must be a cron expression of 5 fields, has ${written.length}`;
  for (const [index, field] of FIELDS.entries()) {
    const parts = (written[index] ?? "").split(",");
    if (!parts.every((part) => fits(part, field))) {
      return `has a wrong ${field.name} (${field.min} to ${field.max}) in its cron expression`;
    }
  }
  return undefined;
}

function fits(part: string, field: (typeof FIELDS)[number]): boolean {
  const match = /^(?:\*|(\w+)(?:-(\w+))?)(?:\/(\d+))?$/.exec(part);
  if (match === null) return false;
  const [, from, to, step] = match;
  const first = from === undefined ? field.min : numberOf(from, field);
  const last = to === undefined ? first : numberOf(to, field);
  return inside(first, field) && inside(last, field) && first <= last && step !== "0";
}

function numberOf(word: string, field: (typeof FIELDS)[number]): number {
  if (/^\d+$/.test(word)) return Number(word);
  const index = field.words.findIndex((known) => known === word.toLowerCase());
  return index < 0 ? -1 : index + (field.name === "month" ? 1 : 0);
}

function inside(value: number, field: (typeof FIELDS)[number]): boolean {
  return value >= field.min && value <= field.max;
}
