// Finds the known name that somebody who wrote an unknown one probably meant.

/** Edits (insert, delete, replace, swap of neighbours) that turn one word into the other. */
export function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      let best = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]) {
        best = Math.min(best, (before[column - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    before = previous;
    previous = current;
  }
  return previous[to.length] ?? 0;
}

/** A whole name goes before a part of another that is as near. */
const PART_PENALTY = 0.4;

/**
 * The candidate nearest to `name`: at most a third of its letters wrong, capitals and `-` for `_` not counted; some words
 * of several count too (`password` for `password_file`). Undefined when none is near.
 */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = plain(name).slice(0, 100);
  let best: string | undefined;
  let bestScore = Math.max(1, Math.floor(wanted.length / 3)) + 0.5;
  for (const candidate of candidates) {
    const words = plain(candidate).split("_");
    const parts = words.slice(1).flatMap((_, index) => [words.slice(0, index + 1), words.slice(index + 1)]);
    const score = Math.min(
      distanceBelow(bestScore, wanted, words.join("_")),
      ...parts.map((part) => distanceBelow(bestScore, wanted, part.join("_")) + PART_PENALTY),
    );
    if (score < bestScore) [best, bestScore] = [candidate, score];
  }
  return best;
}

/** The distance, or Infinity where the lengths alone say that it is `limit` or more. */
function distanceBelow(limit: number, wanted: string, known: string): number {
  if (known.length < 3 || Math.abs(wanted.length - known.length) >= limit) return Infinity;
  return editDistance(wanted, known);
}

/** `; did you mean …?`, or nothing. */
export function hint(suggestion: string | undefined): string {
  return suggestion === undefined ? "" : `; did you mean ${suggestion}?`;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll("-", "_");
}
