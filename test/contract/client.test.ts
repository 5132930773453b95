import { describe, expect, test } from "vitest";
import { createPipitClient } from "../../src/mqtt/client.ts";
import { EmbeddedBroker } from "../../src/mqtt/embedded-broker.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { freePort } from "../fixtures/mosquitto.ts";
import { clientContract } from "./client.ts";

clientContract("the client on the embedded broker, MQTT 3.1.1", async () => {
  const broker = new EmbeddedBroker({ port: 0 }, new FakeLogger());
  await broker.start();
  return { port: broker.port ?? 0, protocol: 4, stop: () => broker.stop() };
});

describe("a client without a broker", () => {
  test("says that the broker is unreachable, and why", async () => {
    const client = createPipitClient({
      url: `mqtt://127.0.0.1:${await freePort()}`,
      device: "board",
      backoff: { maxMs: 5 },
    });
    await expect(client.connected(50)).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringContaining("ECONNREFUSED") as string,
    });
    await client.close();
  });

  test.for([
    { url: "http://broker", device: "board", fault: "scheme http" },
    { url: "mqtt://broker", device: "a/b", fault: 'device "a/b"' },
  ])("refuses $url with device $device", ({ url, device, fault }) => {
    expect(() => createPipitClient({ url, device })).toThrow(fault);
  });
});
