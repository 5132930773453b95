import { connectAsync } from "mqtt";
import type { MqttClient } from "mqtt";
import { systemClock } from "../../src/core/clock.ts";
import type { OutgoingMessage } from "../../src/core/message.ts";
import { EmbeddedBroker } from "../../src/mqtt/embedded-broker.ts";
import { MqttLink } from "../../src/mqtt/link.ts";
import type { LinkEvents } from "../../src/mqtt/link.ts";
import { FakeLink } from "../fakes/link.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { Mailbox } from "../fakes/mailbox.ts";
import { freePort } from "../fixtures/mosquitto.ts";
import { TcpProxy } from "../fixtures/tcp-proxy.ts";
import { AVAILABILITY, FILTERS, linkContract } from "./link.ts";
import type { LinkUnderTest } from "./link.ts";

linkContract("the fake link", (events, brokerIsUp) => {
  const link = new FakeLink({ filters: FILTERS, availabilityTopic: AVAILABILITY }, events, systemClock, brokerIsUp);
  const published = new Mailbox<OutgoingMessage>();
  const put = link.published.push.bind(link.published);
  link.published.push = (message) => {
    published.put(message);
    return put(message);
  };
  return Promise.resolve({
    link,
    published,
    send: (topic, payload) => Promise.resolve(void link.send(topic, payload)),
    retained: (topic) => {
      const last = link.published.filter((message) => message.topic === topic && message.retain).at(-1);
      return Promise.resolve(last && new TextDecoder().decode(last.payload));
    },
    cut: () => Promise.resolve(link.cut()),
    brokerDown: () => Promise.resolve(link.brokerDown()),
    brokerUp: () => Promise.resolve(link.brokerUp()),
    cleanup: () => link.stop(),
  });
});

linkContract("the MQTT link on the embedded broker", async (events, brokerIsUp) => {
  const logger = new FakeLogger();
  const broker = new EmbeddedBroker({ port: 0 }, logger);
  await broker.start();
  // The link sees a broker that comes and goes; the stranger stays connected to the one behind.
  const proxy = new TcpProxy(broker.port ?? 0, await freePort());
  if (brokerIsUp) await proxy.open();
  const stranger = await connectAsync(broker.url, { reconnectPeriod: 0 });
  const published = await watch(stranger);
  const link = linkTo(`mqtt://127.0.0.1:${proxy.port}`, events, logger);
  const under: LinkUnderTest = {
    link,
    published,
    send: async (topic, payload) => void (await stranger.publishAsync(topic, payload, { qos: 1 })),
    retained: (topic) => retained(broker.url, topic),
    cut: () => Promise.resolve(proxy.cut()),
    brokerDown: () => proxy.close(),
    brokerUp: () => proxy.open(),
    cleanup: async () => {
      await link.stop();
      await stranger.endAsync(true);
      await proxy.close();
      await broker.stop();
    },
  };
  return under;
});

function linkTo(url: string, events: LinkEvents, logger: FakeLogger): MqttLink {
  return new MqttLink(
    { url, clientId: "board", filters: FILTERS, availabilityTopic: AVAILABILITY, backoff: { minMs: 5, maxMs: 20 } },
    events,
    logger,
    systemClock,
  );
}

async function watch(stranger: MqttClient): Promise<Mailbox<OutgoingMessage>> {
  const published = new Mailbox<OutgoingMessage>();
  stranger.on("message", (topic, payload) => published.put({ topic, payload }));
  await stranger.subscribeAsync([AVAILABILITY, "pipit/board/answer"], { qos: 1 });
  return published;
}

/** The broker sends what it has stored before it can answer the subscription to a topic nobody uses. */
async function retained(url: string, topic: string): Promise<string | undefined> {
  const client = await connectAsync(url, { reconnectPeriod: 0 });
  let stored: string | undefined;
  client.on("message", (_, payload) => (stored = payload.toString()));
  await client.subscribeAsync(topic, { qos: 1 });
  await client.publishAsync("nobody", "", { qos: 1 });
  await client.endAsync(true);
  return stored;
}
