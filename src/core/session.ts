// Conversations: what was asked and answered before, under a name that the asker chose. Kept as text, so that it survives a
// new context, a smaller model and the death of the model's process: whatever is lost of the cache is read again.
import type { Turn } from "./ports.ts";
import type { Question } from "./request.ts";

export interface Exchange {
  asked: string;
  answered: string;
}

/** What a reply says about its session. */
export interface SessionNote {
  name: string;
  /** Earlier questions with their answers that the model read before this one. */
  turns: number;
  /** Those that have fallen out, the oldest first: of what is kept, or of what the context holds now. */
  forgotten: number;
}

/** A session belongs to its sender on its route: nobody continues a conversation of somebody else by guessing its name. */
export function sessionKey({ route, sender, session }: Pick<Question, "route" | "sender" | "session">): string {
  return JSON.stringify([route.name, sender, session]);
}

/** Static text first, then what changes: the system text of a route and earlier turns stay in the key-value cache. */
export function conversation(
  { route, context, text }: Pick<Question, "route" | "context" | "text">,
  earlier: readonly Exchange[] = [],
): Turn[] {
  const turns: Turn[] = [];
  if (route.system) turns.push({ role: "system", text: route.system });
  for (const { asked, answered } of earlier) {
    turns.push({ role: "user", text: asked }, { role: "assistant", text: answered });
  }
  turns.push({ role: "user", text: context ? `${context}\n\n${text}` : text });
  return turns;
}

/** Tokens that a prompt may have: what the answer may need is left free, as long as that is no more than a quarter. */
export function promptRoom(contextTokens: number, maxTokens: number): number {
  return contextTokens - Math.min(maxTokens, Math.floor(contextTokens / 4));
}

/**
 * The first exchange to be read so that the prompt fits. Where it does not, more than needed falls out: with every answer
 * one exchange less, the rest of the conversation would move in the cache and be read again each time.
 */
export async function firstThatFits(
  from: number,
  count: number,
  room: number,
  tokensFrom: (index: number) => Promise<number>,
): Promise<number> {
  if (from >= count || (await tokensFrom(from)) <= room) return from;
  for (let index = from + 1; index < count; index += 1) {
    if ((await tokensFrom(index)) <= room / 2) return index;
  }
  return count;
}
