// Journal, outbox and link together, on a broker that takes only small packets.
import { connectAsync } from "mqtt";
import type { IPublishPacket } from "mqtt";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { LinkStatus } from "../../src/core/ports.ts";
import { FileJournal } from "../../src/journal/file-journal.ts";
import { MqttLink } from "../../src/mqtt/link.ts";
import { Outbox } from "../../src/work/outbox.ts";
import { question, reply, text } from "../contract/journal.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { Mailbox } from "../fakes/mailbox.ts";
import { mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";

const LIMIT = 2_000;
const ANSWER = "home/answers";

function largeReply(id: string) {
  const payload = text(JSON.stringify({ id, status: "ok", task: "answer", text: "a".repeat(5_000) }));
  return reply(id, { topic: ANSWER, payload, contentType: "application/json", correlationData: text(`c-${id}`) });
}

/** An agent's way out, and somebody who waits for answers. */
async function wayOut(directory: string) {
  const broker = await startMosquitto({ extra: [`max_packet_size ${LIMIT}`] });
  onTestFinished(() => broker.stop());
  const asker = await connectAsync(broker.url, { reconnectPeriod: 0, protocolVersion: 5 });
  onTestFinished(() => asker.endAsync(true));
  const heard = new Mailbox<IPublishPacket>();
  asker.on("message", (_topic, _payload, packet) => heard.put(packet));
  await asker.subscribeAsync(ANSWER, { qos: 1 });

  const logger = new FakeLogger();
  const online = new Mailbox<LinkStatus>();
  const link = new MqttLink(
    { url: broker.url, clientId: "board", filters: ["pipit/board/ask"], availabilityTopic: "pipit/board/availability" },
    { onMessage: () => Promise.resolve(), onOnline: (status) => online.put(status) },
    logger,
    systemClock,
  );
  await link.start();
  onTestFinished(() => link.stop());
  await online.take();
  const journal = new FileJournal({ directory, durability: "full", maxBytes: 2 ** 20, clock: systemClock, logger });
  const recovered = await journal.start();
  onTestFinished(() => journal.stop());
  return { heard, link, logger, journal, recovered, outbox: new Outbox(journal, link, systemClock, logger) };
}

function expectFailure(packet: IPublishPacket, id: string): void {
  expect(packet.properties).toMatchObject({
    correlationData: Buffer.from(`c-${id}`),
    userProperties: { status: "error", code: "failed" },
  });
  const { error, ...rest } = JSON.parse(packet.payload.toString()) as { error: { code: string; message: string } };
  expect(rest).toEqual({ id, status: "error", task: "answer" });
  expect(error.code).toBe("failed");
  expect(error.message).toMatch(/^the reply cannot be sent: .* 51\d\d bytes to home\/answers .* limit of 2000 bytes$/);
}

describe.skipIf(mosquittoMissing)(
  `a reply too large for mosquitto${mosquittoMissing ? ` (${mosquittoMissing})` : ""}`,
  () => {
    test("is replaced by a failure that names both sizes, once, and keeps nobody waiting", async () => {
      const { heard, link, logger, journal, outbox } = await wayOut(await temporaryDirectory());
      for (const id of ["large", "small"]) await journal.accept(question(id));
      await outbox.deliver("large", largeReply("large"));
      expectFailure(await heard.take(), "large");
      await outbox.flush(10_000);
      expect(outbox.length).toBe(0);
      expect(journal.state("large")).toBe("settled");
      await outbox.deliver("small", reply("small", { topic: ANSWER }));
      expect((await heard.take()).payload.toString()).toContain("small");
      await outbox.resend();
      expect(link.status).toMatchObject({ state: "online", connects: 1 });
      expect(logger.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
    });

    test("is replaced also when it comes out of the journal after a restart", async () => {
      const directory = await temporaryDirectory();
      const logger = new FakeLogger();
      const before = new FileJournal({ directory, durability: "full", maxBytes: 2 ** 20, clock: systemClock, logger });
      await before.start();
      await before.accept(question("large"));
      await before.answer("large", largeReply("large"));
      await before.stop();
      const { heard, journal, recovered, outbox } = await wayOut(directory);
      for (const { key, reply: stored } of recovered.unsettled) await outbox.repeat(key, stored);
      expectFailure(await heard.take(), "large");
      expect(journal.state("large")).toBe("settled");
    });
  },
);
