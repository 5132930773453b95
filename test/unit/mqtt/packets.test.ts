import { generate } from "mqtt-packet";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { incomingMessage, packetBytes, publishOptions } from "../../../src/mqtt/packets.ts";

const publish = { cmd: "publish", topic: "t", qos: 1, dup: false, retain: false, messageId: 3 } as const;

describe("incomingMessage", () => {
  test("leaves out what the packet does not have", () => {
    const message = incomingMessage({ ...publish, payload: Buffer.from("x") }, 12);
    expect(message).toEqual({
      topic: "t",
      payload: Buffer.from("x"),
      packetId: 3,
      retained: false,
      duplicate: false,
      arrivedMs: 12,
    });
  });

  test("keeps an expiry of 0: the message was about to expire", () => {
    const packet = { ...publish, payload: "", properties: { messageExpiryInterval: 0 } };
    expect(incomingMessage(packet, 0).expirySeconds).toBe(0);
  });
});

describe("publishOptions", () => {
  const message = { topic: "t", payload: new Uint8Array(), contentType: "text/plain", text: true, expirySeconds: 0.2 };

  test("has no properties in MQTT 3.1.1", () => {
    expect(publishOptions(message, 4)).toEqual({ qos: 1, retain: false });
  });

  test.for([
    [-5, 0],
    [1e12, 0xffffffff],
  ] as const)("fits an expiry of %d s into its field: %d", ([expirySeconds, interval]) => {
    expect(publishOptions({ ...message, expirySeconds }, 5).properties?.messageExpiryInterval).toBe(interval);
  });

  test("rounds the expiry up, so that the last second is given in full", () => {
    expect(publishOptions(message, 5).properties).toEqual({
      contentType: "text/plain",
      payloadFormatIndicator: true,
      messageExpiryInterval: 1,
    });
  });
});

describe("packetBytes", () => {
  test("is never less than the packet, and not much more", () => {
    const text = fc.string({ minLength: 1, maxLength: 60, unit: "grapheme" });
    const message = fc.record(
      {
        topic: text,
        payload: fc.uint8Array({ maxLength: 300 }),
        responseTopic: text,
        contentType: text,
        correlationData: fc.uint8Array({ maxLength: 60 }),
        text: fc.boolean(),
        expirySeconds: fc.nat(1_000_000),
        userProperties: fc.dictionary(text, text, { maxKeys: 3 }),
      },
      { requiredKeys: ["topic", "payload"] },
    );
    fc.assert(
      fc.property(message, (sent) => {
        const options = publishOptions(sent, 5);
        const payload = Buffer.from(sent.payload);
        const correlationData = sent.correlationData && Buffer.from(sent.correlationData);
        const properties = { ...options.properties, ...(correlationData && { correlationData }) };
        const packet = { ...publish, topic: sent.topic, payload, properties };
        const size = generate(packet, { protocolVersion: 5 }).length;
        expect(size).toBeGreaterThan(0);
        expect(packetBytes(sent)).toBeGreaterThanOrEqual(size);
        expect(packetBytes(sent)).toBeLessThanOrEqual(size + 64);
      }),
    );
  });
});
