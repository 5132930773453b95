// What every link owes its caller. Run for the fake and, against a broker, for the real one.
import { afterEach, describe, expect, test } from "vitest";
import type { IncomingMessage, OutgoingMessage } from "../../src/core/message.ts";
import type { Link, LinkStatus } from "../../src/core/ports.ts";
import type { LinkEvents } from "../../src/mqtt/link.ts";
import { Mailbox } from "../fakes/mailbox.ts";

export const FILTERS = ["pipit/board/ask", "home/+/ask"];
export const AVAILABILITY = "pipit/board/availability";

export interface LinkUnderTest {
  link: Link;
  /** Publishes as a stranger. */
  send(topic: string, payload: string): Promise<void>;
  /** Everything the link has published so far and from now on. */
  published: Mailbox<OutgoingMessage>;
  /** What a late subscriber would get on this topic. */
  retained(topic: string): Promise<string | undefined>;
  /** Breaks the connection without a farewell; the broker stays. */
  cut(): Promise<void>;
  brokerDown(): Promise<void>;
  brokerUp(): Promise<void>;
  cleanup(): Promise<void>;
}

export type MakeLink = (events: LinkEvents, brokerIsUp: boolean) => Promise<LinkUnderTest>;

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const encode = (text: string) => new TextEncoder().encode(text);

export function linkContract(name: string, make: MakeLink): void {
  describe(name, () => {
    let cleanups: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
      cleanups = [];
    });

    async function setUp(handler?: (message: IncomingMessage) => Promise<void>, brokerIsUp = true) {
      const messages = new Mailbox<IncomingMessage>();
      const online = new Mailbox<LinkStatus>();
      const states = new Mailbox<LinkStatus>();
      const events: LinkEvents = {
        onMessage: async (message) => {
          messages.put(message);
          await handler?.(message);
        },
        onOnline: (status) => online.put(status),
        onStatus: (status) => states.put(status),
      };
      const under = await make(events, brokerIsUp);
      cleanups.push(() => under.cleanup());
      return { ...under, messages, online, states };
    }

    test("starts without a broker and comes online when it appears", async () => {
      const { link, online, brokerUp } = await setUp(undefined, false);
      await link.start();
      expect(link.status).toMatchObject({ connects: 0 });
      expect(link.status.state).not.toBe("online");
      await brokerUp();
      expect(await online.take()).toMatchObject({ state: "online", connects: 1 });
      expect(link.status.state).toBe("online");
    });

    test("says online, retained, before it reports to be ready", async () => {
      const { link, online, published, retained } = await setUp();
      await link.start();
      await online.take();
      const birth = await published.take();
      expect([birth.topic, decode(birth.payload)]).toEqual([AVAILABILITY, "online"]);
      expect(await retained(AVAILABILITY)).toBe("online");
    });

    test("hands over messages of every filter, and no others", async () => {
      const { link, online, messages, send } = await setUp();
      await link.start();
      await online.take();
      await send("pipit/board/other", "no");
      await send("pipit/board/ask", "one");
      await send("home/kitchen/ask", "two");
      const got = [await messages.take(), await messages.take()];
      expect(got.map(({ topic, payload }) => [topic, decode(payload)])).toEqual([
        ["pipit/board/ask", "one"],
        ["home/kitchen/ask", "two"],
      ]);
      expect(got.every(({ retained, arrivedMs }) => !retained && arrivedMs > 0)).toBe(true);
    });

    test("does not get an acknowledged message again", async () => {
      const { link, online, messages, send, cut } = await setUp();
      await link.start();
      await online.take();
      await send("pipit/board/ask", "once");
      await messages.take();
      // Leaves after the acknowledgement, so once the broker has this it has that.
      await link.publish({ topic: "pipit/board/answer", payload: encode("Paris.") });
      await cut();
      await online.take();
      await send("pipit/board/ask", "next");
      expect(decode((await messages.take()).payload)).toBe("next");
    });

    test("gets a message again that was not acknowledged when the link fell", async () => {
      const { link, online, messages, send, cut } = await setUp(() => new Promise(() => {}));
      await link.start();
      await online.take();
      await send("pipit/board/ask", "held");
      expect((await messages.take()).duplicate).toBe(false);
      await cut();
      await online.take();
      expect(decode((await messages.take()).payload)).toBe("held");
    });

    test("goes on receiving while a message waits for its acknowledgement", async () => {
      const { link, online, messages, send } = await setUp((message) =>
        decode(message.payload) === "held" ? new Promise(() => {}) : Promise.resolve(),
      );
      await link.start();
      await online.take();
      await send("pipit/board/ask", "held");
      await send("pipit/board/ask", "next");
      await messages.take();
      expect(decode((await messages.take()).payload)).toBe("next");
    });

    test("publishes what it is given", async () => {
      const { link, online, published } = await setUp();
      await link.start();
      await online.take();
      await published.take();
      await link.publish({ topic: "pipit/board/answer", payload: encode("Paris.") });
      const reply = await published.take();
      expect([reply.topic, decode(reply.payload)]).toEqual(["pipit/board/answer", "Paris."]);
    });

    test("rejects a publish while there is no broker, as transient", async () => {
      const { link } = await setUp(undefined, false);
      await link.start();
      const publishing = link.publish({ topic: "pipit/board/answer", payload: encode("Paris.") });
      await expect(publishing).rejects.toMatchObject({ kind: "transient", code: "link_down" });
    });

    test("comes back after the broker was away, counts it, and says why it was offline", async () => {
      const { link, online, states, brokerDown, brokerUp } = await setUp();
      await link.start();
      await online.take();
      await brokerDown();
      const fallen = await states.takeUntil(({ state }) => state === "offline");
      expect(fallen.reason).toBeTruthy();
      await brokerUp();
      expect(await online.take()).toMatchObject({ state: "online", connects: 2 });
    });

    test("says offline at stop and stays stopped", async () => {
      const { link, online, published, retained, cut } = await setUp();
      await link.start();
      await online.take();
      await published.take();
      await link.stop();
      await link.stop();
      const farewell = await published.take();
      expect([farewell.topic, decode(farewell.payload)]).toEqual([AVAILABILITY, "offline"]);
      expect(await retained(AVAILABILITY)).toBe("offline");
      await cut();
      expect(link.status).toMatchObject({ state: "offline", reason: "stopped", connects: 1 });
    });

    test("stops although there has never been a broker", async () => {
      const { link } = await setUp(undefined, false);
      await link.start();
      await link.stop();
      expect(link.status.state).toBe("offline");
    });

    test("does not start with a signal that has fired", async () => {
      const { link } = await setUp();
      await expect(link.start(AbortSignal.abort())).rejects.toThrow();
      expect(link.status.connects).toBe(0);
    });
  });
}
