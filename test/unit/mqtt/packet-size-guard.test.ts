import fc from "fast-check";
import { generate } from "mqtt-packet";
import { describe, expect, test } from "vitest";
import { PacketSizeGuard } from "../../../src/mqtt/packet-size-guard.ts";

const publish = (bytes: number) =>
  generate({ cmd: "publish", topic: "t", payload: Buffer.alloc(bytes), qos: 0, dup: false, retain: false });

describe("PacketSizeGuard", () => {
  test("lets pass what the limit allows, however the stream is cut", () => {
    const stream = Buffer.concat([publish(0), publish(127), publish(5_000), generate({ cmd: "pingreq" }), publish(3)]);
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 20 }), (cuts) => {
        const guard = new PacketSizeGuard(5_003);
        const at = [0, ...cuts.sort((a, b) => a - b), stream.length];
        return at.every((end, index) => guard.accept(stream.subarray(at[index - 1] ?? 0, end)));
      }),
    );
  });

  test("refuses a packet at its header, before the body arrives", () => {
    const packet = publish(5_001);
    const guard = new PacketSizeGuard(5_003);
    expect(guard.accept(packet.subarray(0, 1))).toBe(true);
    expect(guard.accept(packet.subarray(1, 3))).toBe(false);
  });

  test("refuses a length that never ends", () => {
    const guard = new PacketSizeGuard(300_000_000);
    expect(guard.accept(Uint8Array.of(0x30, 0x80, 0x80, 0x80, 0x80))).toBe(false);
  });

  test("refuses nothing but what is over the limit, for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(typeof new PacketSizeGuard(100).accept(bytes)).toBe("boolean");
      }),
    );
  });
});
