// Asks the agent and keeps the ledger. Plain MQTT without a repeat of its own: what the broker has taken is the agent's to
// answer. Its session is persistent and its link never passes through the proxy, so whatever is lost was lost by the agent.
import mqtt from "mqtt";
import type { MqttClient } from "mqtt";
import { DEVICE } from "./agent.ts";
import { Ledger } from "./ledger.ts";

export class Asker {
  readonly ledger = new Ledger();
  readonly #client: MqttClient;
  #online: ((atMs: number) => void)[] = [];
  #count = 0;

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on("message", (topic, payload) => {
      if (topic === `pipit/${DEVICE}/answer`) this.ledger.answer(payload.toString());
      if (topic !== `pipit/${DEVICE}/availability` || payload.toString() !== "online") return;
      for (const resolve of this.#online.splice(0)) resolve(performance.now());
    });
  }

  static async connect(url: string): Promise<Asker> {
    const client = await mqtt.connectAsync(url, {
      protocolVersion: 5,
      clientId: "chaos-asker",
      clean: false,
      reconnectPeriod: 200,
      properties: { sessionExpiryInterval: 3600, receiveMaximum: 1000 },
    });
    const asker = new Asker(client);
    await client.subscribeAsync([`pipit/${DEVICE}/answer`, `pipit/${DEVICE}/availability`], { qos: 1 });
    return asker;
  }

  /** Resolves when the broker has taken the question. */
  async ask(text = "What time is it?"): Promise<void> {
    const id = `c-${(this.#count += 1)}`;
    this.ledger.ask(id);
    const payload = JSON.stringify({ id, text });
    await this.#client.publishAsync(`pipit/${DEVICE}/ask`, payload, { qos: 1 });
  }

  /** Asks until `total` are asked, with at most `outstanding` of them unanswered. */
  async askAll(total: number, outstanding: number): Promise<void> {
    while (this.ledger.asked < total) {
      await this.ask();
      await this.ledger.whenOutstanding(outstanding);
    }
  }

  /** Resolves to the time at which the agent says `online` next. */
  nextOnline(): Promise<number> {
    return new Promise((resolve) => this.#online.push(resolve));
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }
}
