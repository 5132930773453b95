import { describe, expect, it } from "vitest";
import { checkConfig, loadConfig } from "../../../src/config/load.ts";
import { problemLine } from "../../../src/config/setting.ts";
import { tempDirectory } from "./temp.ts";

const ENV = { HOME: "/home/somebody", PIPIT_DEVICE_ID: "pi" };

function problemsOf(routes: unknown): string[] {
  return checkConfig({ env: { ...ENV, PIPIT_ROUTES: JSON.stringify(routes) } }).problems.map(problemLine);
}

const classify = (more: object) => [{ filter: "home/+/text", task: "classify", ...more }];

describe("routes", () => {
  it("keeps what is set, in camelCase, and leaves the rest out", () => {
    const temp = tempDirectory();
    temp.write(
      "bell.jsonl",
      '{"text": "a box", "label": "parcel", "split": "dev"}\n\n{"text": "hello?", "label": "visitor"}\n',
    );
    const file = temp.write(
      "pipit.yaml",
      `routes:
  - name: bell
    filter: $share/boards/home/+/bell
    task: classify
    reply_topic: home/{1}/kind
    allow_reply_to: [replies/#]
    reply_form: text
    labels: [parcel, { name: visitor, description: wants in }]
    examples: bell.jsonl
    deadline_ms: 500
    priority: 9
    courtesy: high
`,
    );
    expect(loadConfig({ file, env: ENV }).config.routes).toEqual([
      {
        name: "bell",
        filter: "$share/boards/home/+/bell",
        task: "classify",
        replyTopic: "home/{1}/kind",
        allowReplyTo: ["replies/#"],
        replyForm: "text",
        labels: [{ name: "parcel" }, { name: "visitor", description: "wants in" }],
        examples: [
          { text: "a box", label: "parcel" },
          { text: "hello?", label: "visitor" },
        ],
        deadlineMs: 500,
        priority: 9,
        courtesy: "high",
      },
    ]);
  });

  it("says what is wrong with the way senders are told apart", () => {
    expect(problemsOf(classify({ labels: ["a"], sender: "{2}" }))[0]).toContain(
      "routes[0].sender: names {2}, but the topic filter has only 1 of + and #",
    );
    expect(problemsOf(classify({ labels: ["a"], sender: "{1}" }))).toEqual([]);
    expect(problemsOf(classify({ labels: ["a"], sender: "user" }))[0]).toContain("reply_topic, property:<name>");
    const common = checkConfig({ env: { ...ENV, PIPIT_LIMITS_SENDER: "{1}" } }).problems.map(problemLine);
    expect(common[0]).toContain("wildcards are for the sender of a route");
  });

  it("lets reply topics name wildcards that the filter has, and no others", () => {
    const allow = (...filters: string[]) => problemsOf(classify({ labels: ["a"], allow_reply_to: filters }));
    expect(allow("answers/{1}/#")).toEqual([]);
    expect(allow("a/#", "answers/{2}/#")[0]).toContain(
      "routes[0].allow_reply_to[1]: names {2}, but home/+/text has only 1",
    );
  });

  it("points at the line of the part that is wrong", () => {
    const temp = tempDirectory();
    const yaml =
      "routes:\n  - filter: a\n    task: answer\n  - filter: b/#/c\n    tsk: answer\n    labels:\n      - x\n      - x\n";
    const file = temp.write("pipit.yaml", yaml);
    expect(checkConfig({ file, env: ENV }).problems.map(problemLine)).toEqual([
      `routes[1].tsk: is not a key here; did you mean task? (${file}:5)`,
      `routes[1].filter: must be a topic filter, it has \`#\` that is not its last level: "b/#/c" (${file}:4)`,
      `routes[1].task: is missing, it must be one of answer, classify, extract (${file}:4)`,
      `routes[1].labels[1]: repeats item 1: "x" (${file}:8)`,
    ]);
  });

  it.each([
    [{}, /^routes: must be a list of at most 256 routes/],
    [["x"], /^routes\[0\]: must be a route/],
    [classify({ filter: "$share/a" }), /filter: must be a topic filter, it is empty/],
    [classify({ filter: "$share//a" }), /filter: needs a group without wildcards/],
    [classify({ task: "ask" }), /task: must be one of answer, classify, extract, is "ask"/],
    [classify({ reply_topic: "a/+" }), /reply_topic: must be a topic, it contains a wildcard/],
    [classify({ reply_topic: "$SYS/a" }), /reply_topic: must be a topic, it begins with `\$`/],
    [classify({ reply_topic: "a/{0}" }), /reply_topic: counts wildcards from \{1\}/],
    [classify({ reply_topic: "a/{2}" }), /reply_topic: names \{2\}, but home\/\+\/text has only 1 of \+ and #/],
    [classify({ reply_topic: "home/{1}/text" }), /replies would be questions again/],
    [classify({ allow_reply_to: ["a+"] }), /allow_reply_to\[0\]: must be a topic filter, it has `\+` inside a level/],
    [classify({ allow_reply_to: ["$share/a/b"] }), /allow_reply_to\[0\]: must be a topic filter, it begins with `\$`/],
    [classify({ priority: 10 }), /priority: must be a whole number from 0 to 9, is 10/],
    [
      classify({ labels: ["a"], examples: [{ text: "x", label: "b" }] }),
      /examples: has the label b, which is not among/,
    ],
    [classify({ examples: [{ text: "x" }] }), /examples\[0\].label: is missing/],
    [
      classify({ examples: "/nowhere.jsonl" }),
      /examples: names a file that cannot be read: \/nowhere.jsonl \(ENOENT\)/,
    ],
    [classify({ filter: "#" }), /filter: matches pipit\/pi\/answer, which this agent writes/],
    [classify({ filter: "$share/g/pipit/+/event" }), /filter: matches pipit\/pi\/event, which this agent writes/],
    [[...classify({}), ...classify({})], /^routes\[1\]: repeats item 1: "home\/\+\/text"/],
    [
      [...classify({ name: "a" }), { name: "a", filter: "b", task: "answer" }],
      /^routes\[1\].name: repeats the name of routes\[0\]/,
    ],
  ])("refuses %j", (routes, line) => {
    expect(problemsOf(routes)).toEqual([expect.stringMatching(line)]);
  });

  it("may read other agents' requests, and topics with the words of our own elsewhere", () => {
    expect(problemsOf(classify({ filter: "pipit/+/ask" }))).toEqual([]);
    expect(problemsOf(classify({ filter: "home/pi/answer" }))).toEqual([]);
  });

  it("names the line of an examples file that is no example", () => {
    const file = tempDirectory().write("e.jsonl", '{"text": "a", "label": "b"}\n{"text": 1}\n');
    expect(problemsOf(classify({ examples: file }))).toEqual([
      `routes[0].examples: line 2 of ${file} must be {"text": …, "label": …}, is "{\\"text\\": 1}" (PIPIT_ROUTES)`,
    ]);
  });
});
