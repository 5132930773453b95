// An agent without a model: takes what is asked on its topics and answers as a test tells it to.
import { systemClock } from "../../src/core/clock.ts";
import type { IncomingMessage } from "../../src/core/message.ts";
import { topicsOf } from "../../src/core/topics.ts";
import { MqttLink } from "../../src/mqtt/link.ts";
import { FakeLogger } from "./logger.ts";
import { Mailbox } from "./mailbox.ts";

export interface Asked {
  message: IncomingMessage;
  json: Record<string, unknown>;
  replyTopic: string;
}

export class FakeAgent {
  readonly asked = new Mailbox<Asked>();
  readonly cancelled = new Mailbox<unknown>();
  readonly #link: MqttLink;
  readonly #online = new Mailbox<true>();

  constructor(url: string, device: string, credentials: { username?: string; password?: string } = {}) {
    const { request, cancel, control, availability } = topicsOf("pipit", device);
    const filters = [...Object.values(request), cancel, `${control}/+`, "home/+/ask"];
    this.#link = new MqttLink(
      {
        url,
        ...credentials,
        clientId: device,
        filters,
        availabilityTopic: availability,
        backoff: { minMs: 5, maxMs: 50 },
      },
      {
        onMessage: (message) => {
          const json = JSON.parse(new TextDecoder().decode(message.payload)) as Record<string, unknown>;
          if (message.topic === cancel) this.cancelled.put(json["id"]);
          else this.asked.put({ message, json, replyTopic: message.responseTopic ?? String(json["reply_to"]) });
          return Promise.resolve();
        },
        onOnline: () => this.#online.put(true),
      },
      new FakeLogger(),
      systemClock,
    );
  }

  async start(): Promise<void> {
    await this.#link.start();
    await this.#online.take();
  }

  stop(): Promise<void> {
    return this.#link.stop();
  }

  /** A reply in JSON to what was asked; the receipt is filled in. */
  answer({ message, json, replyTopic }: Asked, reply: Record<string, unknown>): Promise<void> {
    const body = { id: json["id"], status: "ok", model: "none", ...reply };
    return this.say(replyTopic, JSON.stringify(body), message);
  }

  piece({ message, json, replyTopic }: Asked, seq: number, text: string, final = false): Promise<void> {
    return this.say(`${replyTopic}/partial`, JSON.stringify({ id: json["id"], seq, text, final }), message);
  }

  /** Any text on a reply topic; the correlation data of `to` goes with it. */
  say(topic: string, text: string, to: IncomingMessage, userProperties?: Record<string, string>): Promise<void> {
    return this.#link.publish({
      topic,
      payload: new TextEncoder().encode(text),
      ...(to.correlationData && { correlationData: to.correlationData }),
      ...(userProperties && { userProperties }),
    });
  }
}
