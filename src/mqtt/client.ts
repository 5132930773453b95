// `pipit/client`: asks an agent over MQTT, from Node or, over WebSocket, from a browser. A question is sent again, byte for
// byte under the same id, until it is answered or its time is up: the broker may lose it (its PUBACK does not mean "on
// disk"), the agent may restart; the agent answers each id once and repeats that answer. Replies seen twice count once.
//
//   const client = createPipitClient({ url: "mqtt://broker:1883", device: "kitchen-pi" });
//   const { text } = await client.ask("What is the capital of France?", { stream: (piece) => show(piece) });
//   const { label } = await client.classify("It is too dark here.", { labels: ["light", "heating"] });
//   await client.close();
import type { IClientOptions } from "mqtt";
import { systemClock } from "../core/clock.ts";
import { PipitError, toError } from "../core/errors.ts";
import type { IncomingMessage } from "../core/message.ts";
import type { Clock, LinkStatus, Logger } from "../core/ports.ts";
import type { RequestWord } from "../core/topics.ts";
import { DEFAULT_BACKOFF } from "./backoff.ts";
import type { BackoffOptions } from "./backoff.ts";
import { brokerUrlFault } from "./broker-url.ts";
import { idOf, jsonOf, partialOf, ReplyError, replyOf } from "./client-reply.ts";
import type { AnswerReply, LabelReply, RecordReply, ReplyJson } from "./client-reply.ts";
import type { Connection } from "./connection.ts";
import { Inquiry } from "./inquiry.ts";
import { Session } from "./session.ts";

export { PipitError } from "../core/errors.ts";
export { ReplyError } from "./client-reply.ts";
export type { AnswerReply, ErrorReplyJson, LabelReply, RecordReply, ReplyJson, ReplyReceipt } from "./client-reply.ts";

const CONNECT_TIMEOUT_MS = 10_000;

export interface PipitClientOptions {
  /** mqtt, mqtts, ws or wss; a browser can do the last two. */
  url: string;
  /** The agent to ask: its device id. */
  device: string;
  /** First part of all topics; `pipit` unless the site has chosen another. */
  base?: string;
  username?: string;
  password?: string;
  /** PEM texts; Node only, browsers use their own. `insecure` accepts any certificate. */
  tls?: { ca?: string; cert?: string; key?: string; insecure?: boolean };
  /** `auto` is MQTT 5, and 3.1.1 where the broker refuses it. */
  protocol?: "auto" | "5" | "3.1.1";
  /** Wait before a question is sent again for the first time; doubles up to a minute. 10 s. */
  repeatAfterMs?: number;
  /** Called when the connection comes and goes. */
  onStatus?: (status: LinkStatus) => void;
  backoff?: Partial<BackoffOptions>;
  clock?: Clock;
}

export interface QuestionOptions {
  /** Made up unless given. Use the same id only for the very same question. */
  id?: string;
  /** Longest wait for the reply, 60 s; the agent gets to know it. */
  deadlineMs?: number;
  /** More for the model to read before the text. */
  context?: string;
  /** 0 (last) to 9 (first) in the agent's queue. */
  priority?: number;
  /** Topic of a route of its own, instead of `<base>/<device>/ask` and so on. */
  topic?: string;
  /** Stops waiting and cancels the question at the agent. */
  signal?: AbortSignal;
}

export interface AskOptions extends QuestionOptions {
  /** Pieces of the answer as they are written. For showing only: the text of the reply is what counts. */
  stream?: (piece: string) => void;
  /** Questions of one session of this client share their conversation. */
  session?: string;
  maxTokens?: number;
  temperature?: number;
}

export interface ClassifyOptions extends QuestionOptions {
  /** Instead of the labels of the route. */
  labels?: readonly (string | { name: string; description?: string })[];
}

export interface ExtractOptions extends Omit<AskOptions, "stream"> {
  /** JSON schema of the record. */
  schema?: object;
}

/** Connects at once and stays connected until `close()`. Throws a `config` PipitError for an impossible URL or device. */
export function createPipitClient(options: PipitClientOptions): PipitClient {
  return new PipitClient(options);
}

/** All questions reject with: ReplyError (the agent says no), PipitError `no_answer`, `unreachable` or `closed`, or the reason of `signal`. */
export class PipitClient {
  readonly #root: string;
  readonly #replyTopic: string;
  readonly #repeatAfterMs: number;
  readonly #clock: Clock;
  readonly #session: Session;
  readonly #inquiries = new Map<string, Inquiry>();
  /** Called at every change of the connection. */
  readonly #watchers = new Set<() => void>();
  #closed = false;

  constructor(options: PipitClientOptions) {
    const { url, device, base = "pipit", protocol = "auto", clock = systemClock } = options;
    const fault = brokerUrlFault(url) ?? deviceFault(device);
    if (fault !== undefined) throw new PipitError("config", "client_options", fault);
    const clientId = `pipit-client-${randomName()}`;
    this.#root = `${base}/${device}`;
    this.#replyTopic = `${base}/client/${clientId}/reply`;
    this.#repeatAfterMs = options.repeatAfterMs ?? 10_000;
    this.#clock = clock;
    this.#session = new Session(
      {
        url,
        protocol,
        backoff: { ...DEFAULT_BACKOFF, maxMs: 10_000, ...options.backoff },
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        clientOptions: (version) => Promise.resolve(clientOptions(options, clientId, version)),
      },
      {
        receive: async (message) => this.#receive(message),
        ready: (connection) => this.#ready(connection),
        changed: (status) => {
          options.onStatus?.(status);
          // What was sent over the connection before may be lost.
          if (status.state === "online") for (const inquiry of this.#inquiries.values()) inquiry.send();
          for (const watcher of [...this.#watchers]) watcher();
        },
      },
      SILENT,
      clock,
    );
    this.#session.start();
  }

  get status(): LinkStatus {
    return this.#session.status;
  }

  /** Resolves when the broker can be used; rejects with `unreachable` and the last reason after `timeoutMs`. */
  async connected(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    let release = () => {};
    const online = new Promise<void>((resolve, reject) => {
      const look = () => (this.status.state === "online" ? resolve() : undefined);
      const abort = () => reject(toError(signal?.reason));
      const cancel = this.#clock.after(timeoutMs, () => {
        reject(new PipitError("transient", "unreachable", this.status.reason ?? "the broker does not answer"));
      });
      release = () => {
        cancel();
        this.#watchers.delete(look);
        signal?.removeEventListener("abort", abort);
      };
      signal?.addEventListener("abort", abort);
      this.#watchers.add(look);
      look();
    });
    await online.finally(release);
  }

  ask(text: string, options: AskOptions = {}): Promise<AnswerReply> {
    return this.#question("ask", text, options, generationFields(options), options.stream) as Promise<AnswerReply>;
  }

  classify(text: string, options: ClassifyOptions = {}): Promise<LabelReply> {
    return this.#question("classify", text, options, { labels: options.labels }) as Promise<LabelReply>;
  }

  extract(text: string, options: ExtractOptions = {}): Promise<RecordReply> {
    const fields = { ...generationFields(options), schema: options.schema };
    return this.#question("extract", text, options, fields) as Promise<RecordReply>;
  }

  /** Asks the agent to drop a question; its promise then rejects with the code `cancelled`. */
  async cancel(id: string): Promise<void> {
    const payload = new TextEncoder().encode(JSON.stringify({ id }));
    await this.#session.connection?.publish({ topic: `${this.#root}/cancel`, payload, text: true });
  }

  /** Rejects what is still open with the code `closed`, and disconnects. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const inquiry of [...this.#inquiries.values()]) {
      inquiry.fail(new PipitError("transient", "closed", "the client was closed before the answer came"));
    }
    await this.#session.stop(1_000);
  }

  async #question(
    word: RequestWord,
    text: string,
    options: QuestionOptions,
    fields: object,
    onPiece?: (piece: string) => void,
  ): Promise<ReplyJson> {
    options.signal?.throwIfAborted();
    if (this.#closed) throw new PipitError("transient", "closed", "the client is closed");
    const { id = `q-${randomName()}`, deadlineMs = 60_000, context, priority, signal } = options;
    if (this.#inquiries.has(id))
      throw new PipitError("request", "bad_request", `id ${id} is waiting for its answer already`);
    const request = { text, id, reply_to: this.#replyTopic, deadline_ms: deadlineMs, context, priority, ...fields };
    const inquiry = new Inquiry(
      {
        id,
        topic: options.topic ?? `${this.#root}/${word}`,
        payload: new TextEncoder().encode(JSON.stringify({ ...request, ...(onPiece && { stream: true }) })),
        replyTopic: this.#replyTopic,
        deadlineMs,
        repeatAfterMs: this.#repeatAfterMs,
      },
      () => this.#readyConnection(),
      this.#clock,
      onPiece,
    );
    this.#inquiries.set(id, inquiry);
    const abort = () => {
      inquiry.fail(signal?.reason);
      void this.cancel(id).catch(() => {});
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      inquiry.send();
      const reply = await inquiry.reply;
      if (reply.status === "error") throw new ReplyError(reply);
      return reply;
    } finally {
      this.#inquiries.delete(id);
      signal?.removeEventListener("abort", abort);
    }
  }

  #readyConnection(): Connection | undefined {
    return this.status.state === "online" ? this.#session.connection : undefined;
  }

  async #ready(connection: Connection): Promise<void> {
    const granted = await connection.subscribe([this.#replyTopic, `${this.#replyTopic}/partial`]);
    const refused = granted.find((subscription) => subscription.granted >= 0x80);
    if (refused)
      throw new PipitError("transient", "not_allowed", `the broker refuses the subscription to ${refused.filter}`);
  }

  #receive(message: IncomingMessage): void {
    const json = jsonOf(message);
    // A bare text on MQTT 3.1.1 names no id: with one question open there is no doubt whose it is.
    const only = this.#inquiries.size === 1 ? this.#inquiries.keys().next().value : undefined;
    const id = idOf(message, json) ?? only;
    const inquiry = id === undefined ? undefined : this.#inquiries.get(id);
    if (inquiry === undefined || id === undefined) return;
    if (message.topic === this.#replyTopic) {
      inquiry.succeed(replyOf(message, json, id));
    } else {
      const partial = partialOf(json);
      if (partial) inquiry.take(partial);
    }
  }
}

function deviceFault(device: string): string | undefined {
  return /^[A-Za-z0-9_.-]+$/.test(device) ? undefined : `device "${device}" is not made of A-Z a-z 0-9 _ . -`;
}

function generationFields({ maxTokens, temperature, session }: AskOptions): object {
  return { max_tokens: maxTokens, temperature, session };
}

function clientOptions(
  { username, password, tls }: PipitClientOptions,
  clientId: string,
  version: 4 | 5,
): IClientOptions {
  const options: IClientOptions = {
    clientId,
    protocolVersion: version,
    clean: true,
    keepalive: 30,
    connectTimeout: CONNECT_TIMEOUT_MS,
  };
  if (username !== undefined) options.username = username;
  if (password !== undefined) options.password = password;
  if (tls?.ca !== undefined) options.ca = tls.ca;
  if (tls?.cert !== undefined) options.cert = tls.cert;
  if (tls?.key !== undefined) options.key = tls.key;
  if (tls?.insecure === true) options.rejectUnauthorized = false;
  return options;
}

/** 80 random bits: reply topics cannot be guessed, ids do not meet. */
function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const SILENT: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => SILENT };
