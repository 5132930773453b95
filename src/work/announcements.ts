// What the agent says unasked: events on `…/event`, and facts that stay (`…/card`). Worth sending but not worth keeping: lost
// without a link.
import { toError } from "../core/errors.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { ModelState } from "./model-keeper.ts";

export interface AnnouncementRooms {
  eventTopic: string;
  publish: (message: OutgoingMessage) => Promise<void>;
  clock: Clock;
  log: Logger;
}

export class Announcements {
  readonly #rooms: AnnouncementRooms;

  constructor(rooms: AnnouncementRooms) {
    this.#rooms = rooms;
  }

  event(event: string, fields: object): void {
    const at = new Date(this.#rooms.clock.wallMs()).toISOString();
    this.json(this.#rooms.eventTopic, { event, at, ...fields }, false);
  }

  /** A model has been loaded or unloaded, or cannot be; `why` this one and in this size. */
  model(state: ModelState, why?: string): void {
    const { name: model } = state;
    if (state.state === "failed") this.event("model_failed", { model, reason: state.error.message });
    if (state.state === "unloaded") this.event("model_unloaded", { model, reason: state.reason });
    if (state.state === "ready") this.event("model_ready", { model, ...(why !== undefined && { reason: why }) });
  }

  json(topic: string, body: object, retain: boolean): void {
    const payload = new TextEncoder().encode(JSON.stringify(body));
    this.publish({ topic, payload, retain, contentType: "application/json", text: true });
  }

  readonly publish = (message: OutgoingMessage): void => {
    this.#rooms.publish(message).catch((error: unknown) => {
      this.#rooms.log.debug({ topic: message.topic, reason: toError(error).message }, "not published");
    });
  };
}
