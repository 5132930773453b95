// Asks the agent and keeps the ledger. Plain MQTT without a repeat of its own: what the broker has taken is the agent's to
// answer. Its session is persistent and its link never passes through the proxy, so whatever is lost was lost by the agent.
import mqtt from "mqtt";
import type { MqttClient } from "mqtt";
import { DEVICE } from "./agent.ts";
import { Ledger } from "./ledger.ts";

const ANSWER = `pipit/${DEVICE}/answer`;
const PARTIAL = `${ANSWER}/partial`;
const AVAILABILITY = `pipit/${DEVICE}/availability`;
const STATE = `pipit/${DEVICE}/state`;

export interface AgentState {
  model: { state: string; load_ms?: number };
  engine_deaths: number;
}

export class Asker {
  readonly ledger = new Ledger();
  /** The last that the agent has said of itself. */
  state: AgentState | undefined;
  readonly #client: MqttClient;
  #online: ((atMs: number) => void)[] = [];
  #partial: (() => void)[] = [];
  #stateListeners: { until: (state: AgentState) => boolean; resolve: (state: AgentState) => void }[] = [];
  #count = 0;

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on("message", (topic, payload) => {
      if (topic === ANSWER) this.ledger.answer(payload.toString());
      else if (topic === PARTIAL) for (const resolve of this.#partial.splice(0)) resolve();
      else if (topic === STATE) this.#hearState(payload.toString());
      else if (topic === AVAILABILITY && payload.toString() === "online") {
        for (const resolve of this.#online.splice(0)) resolve(performance.now());
      }
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
    await client.subscribeAsync([ANSWER, PARTIAL, AVAILABILITY, STATE], { qos: 1 });
    return asker;
  }

  /** Resolves when the broker has taken the question. */
  async ask(text = "What time is it?", more: object = {}): Promise<void> {
    await this.#publish("ask", { id: this.#newId(), text, ...more });
  }

  async classify(text: string, labels: string[]): Promise<void> {
    await this.#publish("classify", { id: this.#newId(), text, labels, reply_to: ANSWER });
  }

  /** The same question again, as an asker does that is not sure. */
  async askTwice(text: string, more: object = {}): Promise<void> {
    const question = { id: this.#newId(), text, ...more };
    await this.#publish("ask", question);
    await this.#publish("ask", question);
  }

  async askAndCancel(text: string, more: object = {}): Promise<void> {
    const id = this.#newId();
    await this.#publish("ask", { id, text, ...more });
    await this.#publish("cancel", { id });
  }

  /** Asks on and on, with at most `outstanding` unanswered, so that every trouble finds questions under way. */
  async askUntil(over: () => boolean, outstanding: number, text?: string, more?: object): Promise<void> {
    while (!over()) {
      await this.ask(text, more);
      await this.ledger.whenOutstanding(outstanding);
    }
  }

  #newId(): string {
    const id = `c-${(this.#count += 1)}`;
    this.ledger.ask(id);
    return id;
  }

  async #publish(word: string, body: object): Promise<void> {
    await this.#client.publishAsync(`pipit/${DEVICE}/${word}`, JSON.stringify(body), { qos: 1 });
  }

  /** Asks until `total` are asked, with at most `outstanding` of them unanswered. */
  askAll(total: number, outstanding: number): Promise<void> {
    return this.askUntil(() => this.ledger.asked >= total, outstanding);
  }

  /** Resolves to the time at which the agent says `online` next. */
  nextOnline(): Promise<number> {
    return new Promise((resolve) => this.#online.push(resolve));
  }

  /** Resolves with the next piece of an answer that is streamed. */
  nextPartial(): Promise<void> {
    return new Promise((resolve) => this.#partial.push(resolve));
  }

  /** Resolves with the next state that satisfies. */
  nextState(until: (state: AgentState) => boolean): Promise<AgentState> {
    return new Promise((resolve) => this.#stateListeners.push({ until, resolve }));
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }

  #hearState(payload: string): void {
    const state = JSON.parse(payload) as AgentState;
    this.state = state;
    const heard = this.#stateListeners.filter(({ until }) => until(state));
    this.#stateListeners = this.#stateListeners.filter((listener) => !heard.includes(listener));
    for (const { resolve } of heard) resolve(state);
  }
}
