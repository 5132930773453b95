// One question answered in this process: the whole agent, with a link that leads nowhere but back to the asker.
import { App, type AppOptions } from "./app.ts";
import { toError } from "./core/errors.ts";
import type { IncomingMessage, OutgoingMessage } from "./core/message.ts";
import type { Link, LinkStatus, MessageHandler } from "./core/ports.ts";
import { type RequestWord, topicsOf } from "./core/topics.ts";

const REPLY_TOPIC = "local/reply";

class LocalLink implements Link {
  readonly status: LinkStatus = { state: "online", connects: 1 };
  readonly #handle: MessageHandler;
  readonly #onMessage: (message: OutgoingMessage) => void;

  constructor(handle: MessageHandler, onMessage: (message: OutgoingMessage) => void) {
    this.#handle = handle;
    this.#onMessage = onMessage;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  async publish(message: OutgoingMessage): Promise<void> {
    this.#onMessage(message);
  }

  ask(message: IncomingMessage): Promise<void> {
    return this.#handle(message);
  }
}

/** The final reply to `request` as it would stand on the wire; pieces go to `onPiece`. Rejects when `signal` fires. */
export async function askLocally<Reply>(
  options: AppOptions,
  word: RequestWord,
  request: object,
  signal: AbortSignal,
  onPiece: (text: string) => void = () => {},
): Promise<Reply> {
  const { config, clock } = options;
  let link: LocalLink | undefined;
  let onReply: (reply: Reply) => void = () => {};
  const reply = new Promise<Reply>((resolve, reject) => {
    onReply = resolve;
    signal.addEventListener("abort", () => reject(toError(signal.reason)), { once: true });
  });
  const receive = ({ topic, payload }: OutgoingMessage) => {
    if (topic !== REPLY_TOPIC && topic !== `${REPLY_TOPIC}/partial`) return;
    const json = JSON.parse(new TextDecoder().decode(payload)) as Reply & { text: string };
    if (topic === REPLY_TOPIC) onReply(json);
    else onPiece(json.text);
  };
  const app = new App({ ...options, createLink: (handle) => (link = new LocalLink(handle, receive)) });
  try {
    await app.start(signal);
    const payload = new TextEncoder().encode(JSON.stringify({ ...request, reply_to: REPLY_TOPIC }));
    const topic = topicsOf(config.device.baseTopic, config.device.id).request[word];
    await link?.ask({ topic, payload, retained: false, duplicate: false, arrivedMs: clock.nowMs() });
    return await reply;
  } finally {
    reply.catch(() => {});
    await app.stop();
  }
}
