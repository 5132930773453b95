// `ask`: the text is answered in the model's own words.
import type { Engine, Piece, Turn } from "../core/ports.ts";
import type { Question } from "../core/request.ts";

export interface Answer {
  text: string;
  end: Extract<Piece, { kind: "end" }>;
}

/** Static text first, then what changes: the system text of a route stays in the key-value cache. */
export function answerTurns({ route, context, text }: Pick<Question, "route" | "context" | "text">): Turn[] {
  const turns: Turn[] = [];
  if (route.system) turns.push({ role: "system", text: route.system });
  turns.push({ role: "user", text: context ? `${context}\n\n${text}` : text });
  return turns;
}

export async function answer(
  engine: Engine,
  question: Question,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<Answer> {
  const { id, maxTokens, temperature } = question;
  const job = { id, turns: answerTurns(question), maxTokens, temperature };
  let text = "";
  for await (const piece of engine.generate(job, signal)) {
    if (piece.kind === "end") return { text, end: piece };
    text += piece.text;
    onText(piece.text);
  }
  throw new Error("the engine ended an answer without saying so");
}
