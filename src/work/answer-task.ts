// `ask`: the text is answered in the model's own words, after what was said before in its session.
import type { Engine, Piece } from "../core/ports.ts";
import type { Question } from "../core/request.ts";
import { conversation, type Exchange, firstThatFits, promptRoom, type SessionNote } from "../core/session.ts";
import type { Session, Sessions } from "./sessions.ts";

export interface Answer {
  text: string;
  end: Extract<Piece, { kind: "end" }>;
  session?: SessionNote;
}

export interface AnswerRooms {
  engine: Pick<Engine, "generate" | "tokenize">;
  sessions: Sessions;
  /** Of the loaded model. */
  contextTokens: number;
}

export async function answer(
  { engine, sessions, contextTokens }: AnswerRooms,
  question: Question,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<Answer> {
  const { id, maxTokens, temperature } = question;
  const session = sessions.of(question);
  // Other questions of the session may end meanwhile: this one goes by what was said when it began.
  const said = [...(session?.exchanges ?? [])];
  const lost = session?.lost ?? 0;
  const from = session ? await firstRead(engine, question, session, said, contextTokens) : 0;
  const job = { id, turns: conversation(question, said.slice(from)), maxTokens, temperature };
  const note = session && { name: question.session ?? "", turns: said.length - from, forgotten: lost + from };
  let text = "";
  for await (const piece of engine.generate(job, signal)) {
    if (piece.kind === "end") {
      const asked = conversation(question).at(-1)?.text ?? question.text;
      session?.add({ asked, answered: text });
      return { text, end: piece, ...(note && { session: note }) };
    }
    text += piece.text;
    onText(piece.text);
  }
  throw new Error("the engine ended an answer without saying so");
}

/** Index of the first exchange that the context has room for. */
async function firstRead(
  engine: Pick<Engine, "tokenize">,
  question: Question,
  session: Session,
  said: readonly Exchange[],
  contextTokens: number,
): Promise<number> {
  const room = promptRoom(contextTokens, question.maxTokens);
  const tokensFrom = async (index: number) => (await engine.tokenize(conversation(question, said.slice(index)))).length;
  const from = await firstThatFits(session.from(contextTokens), said.length, room, tokensFrom);
  session.reads(from, contextTokens);
  return from;
}
