import { describe, expect, test } from "vitest";
import { AccessList, userLine, Users } from "../../../src/mqtt/access-list.ts";

const anna = { clientId: "c1", username: "anna" };
const bob = { clientId: "c2", username: "bob" };
const nobody = { clientId: "c3" };

describe("AccessList", () => {
  const list = AccessList.parse(
    `# askers are kept apart
topic read pipit/+/availability

user anna
topic write pipit/board/ask
topic readwrite notes/#
topic deny notes/secret

pattern read pipit/client/%c/#
pattern write from/%u/ask
`,
    "access",
  );

  test.for([
    ["lines before the first user are for those without a name", "read", "pipit/board/availability", nobody, true],
    ["and not for users", "read", "pipit/board/availability", anna, false],
    ["a user may do what a line of theirs allows", "write", "pipit/board/ask", anna, true],
    ["and not the other direction", "read", "pipit/board/ask", anna, false],
    ["nor may another user", "write", "pipit/board/ask", bob, false],
    ["readwrite allows both", "read", "notes/today", anna, true],
    ["readwrite allows both", "write", "notes/today", anna, true],
    ["deny beats what is allowed elsewhere", "read", "notes/secret", anna, false],
    ["%c is the client id", "read", "pipit/client/c2/reply", bob, true],
    ["and nobody else's", "read", "pipit/client/c1/reply", bob, false],
    ["%u is the user name", "write", "from/bob/ask", bob, true],
    ["%u matches nobody without a name", "write", "from//ask", nobody, false],
    ["what no line allows is refused", "write", "anything", anna, false],
  ] as const)("%s (%s %s)", ([, access, topic, identity, allowed]) => {
    expect(list.allows(access, topic, identity)).toBe(allowed);
  });

  test.for(["+", "#", "c1/#", "a/b"])("a client id of %s opens nothing", (clientId) => {
    expect(list.allows("read", "pipit/client/c1/reply", { clientId })).toBe(false);
  });

  test("names every line that cannot be read", () => {
    expect(() => AccessList.parse("topic read a/#/b\ntopics x\n", "access")).toThrow(
      /^access: line 1: filter "a\/#\/b" has `#`.*; line 2: "topics x" is neither/,
    );
  });
});

describe("Users", () => {
  test("knows the right password from the wrong one and from nobody's", async () => {
    const users = Users.parse(`# comment\n${await userLine("anna", "grün:$7$")}\n`, "users");
    const bytes = (text: string) => new TextEncoder().encode(text);
    expect(await users.verify("anna", bytes("grün:$7$"))).toBe(true);
    expect(await users.verify("anna", bytes("grün"))).toBe(false);
    expect(await users.verify("anna", undefined)).toBe(false);
    expect(await users.verify("bob", bytes(""))).toBe(false);
    expect(await users.verify(undefined, undefined)).toBe(false);
  });

  test("reads what mosquitto_passwd 2.0 writes", async () => {
    const hash = "ata8RisqNvanv1O/tI2NnNIRCWJr0oIex2lyJniHPBvfWZPmBiK/8QOVMC0n1vZWVfcXisRPUoOCFUlNo0EsQQ==";
    const users = Users.parse(`board:$7$101$LuEEzsXAmW9L3jfX$${hash}`, "users");
    expect(await users.verify("board", new TextEncoder().encode("right"))).toBe(true);
    expect(await users.verify("board", new TextEncoder().encode("wrong"))).toBe(false);
  });

  test("names every line that cannot be read, but never its hash", () => {
    expect(() => Users.parse("anna\nbob:plain-secret\n", "users")).toThrow(
      "users: line 1 has no name before a colon; line 2 has no $7$ hash (see mosquitto_passwd)",
    );
  });
});
