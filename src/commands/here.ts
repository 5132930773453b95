// `--local`: the question goes to a model in this process instead of over MQTT; everything else stays the same.
import { loadConfig } from "../config/load.ts";
import { systemClock } from "../core/clock.ts";
import type { RequestWord } from "../core/topics.ts";
import { askLocally } from "../local.ts";
import { createLogger } from "../logger.ts";
import { ReplyError } from "../mqtt/client.ts";
import type { ErrorReplyJson, QuestionOptions, ReplyJson } from "../mqtt/client.ts";
import { version } from "../version.ts";
import type { Here } from "./asking.ts";

type Answered = Exclude<ReplyJson, ErrorReplyJson>;

/** `fieldsOf` gives the request's own fields; a `stream` among the options is fed with pieces. */
export function here<R extends Answered, O extends QuestionOptions & { stream?: (piece: string) => void }>(
  word: RequestWord,
  fieldsOf: (options: O) => object,
): Here<R, O> {
  return async (text, options, { values, env, isTty, signal }) => {
    const set = [
      ...((values["set"] as string[] | undefined) ?? []),
      "journal.durability=memory",
      "broker.embedded=false",
    ];
    const { config, secret } = loadConfig({ env, args: { ...values, set } });
    const log = await createLogger({ ...config.log, level: "error" }, isTty);
    const request = { text, id: options.id, deadline_ms: options.deadlineMs, ...fieldsOf(options) };
    const app = { config, secret, version, log, clock: systemClock };
    const reply = await askLocally<R | ErrorReplyJson>(
      app,
      word,
      { ...request, stream: options.stream !== undefined },
      signal,
      options.stream,
    );
    if (reply.status === "error") throw new ReplyError(reply);
    return reply;
  };
}
