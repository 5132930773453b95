// Candidate answers as a tree of tokens, so that a shared beginning is evaluated once and single tokens cost nothing extra.

export interface TrieNode {
  /** Tokens from the root to here. */
  path: readonly number[];
  /** Next tokens whose probability is wanted here. */
  next: number[];
}

/**
 * The nodes at which next-token probabilities are needed, root first, parents before children. A candidate that is the
 * beginning of another one also needs the `end` token, or it could never be told from the longer one.
 */
export function branchPoints(candidates: readonly (readonly number[])[], end: number): TrieNode[] {
  const nodes = new Map<string, TrieNode>();
  for (const candidate of closed(candidates, end)) {
    for (let depth = 0; depth < candidate.length; depth += 1) {
      const path = candidate.slice(0, depth);
      const node = nodes.get(path.join()) ?? { path, next: [] };
      nodes.set(path.join(), node);
      const token = candidate[depth] as number;
      if (!node.next.includes(token)) node.next.push(token);
    }
  }
  return [...nodes.values()].sort((one, other) => one.path.length - other.path.length);
}

/** Sum of the log-probabilities along each candidate; `logProbability(path, token)` comes from the evaluated nodes. */
export function pathLogProbabilities(
  candidates: readonly (readonly number[])[],
  end: number,
  logProbability: (path: readonly number[], token: number) => number,
): { sum: number; tokens: number }[] {
  return closed(candidates, end).map((candidate) => ({
    sum: candidate.reduce((sum, token, depth) => sum + logProbability(candidate.slice(0, depth), token), 0),
    tokens: candidate.length,
  }));
}

function closed(candidates: readonly (readonly number[])[], end: number): (readonly number[])[] {
  const isBeginning = (one: readonly number[]) =>
    candidates.some((other) => other.length > one.length && one.every((token, index) => other[index] === token));
  return candidates.map((candidate) => (isBeginning(candidate) ? [...candidate, end] : candidate));
}
