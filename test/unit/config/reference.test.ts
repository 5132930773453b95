import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { checkConfig, loadConfig } from "../../../src/config/load.ts";
import { effectiveText, exampleYaml, referenceMarkdown } from "../../../src/config/reference.ts";
import { routeKeys } from "../../../src/config/schema-route.ts";
import { allKeys } from "../../../src/config/schema.ts";
import { tempDirectory } from "./temp.ts";

const ENV = { HOME: "/home/somebody" };
const STALE = "run node scripts/generate-config-docs.mjs";

describe("the papers made from the schema", () => {
  it("are the ones in the repository", () => {
    expect(readFileSync("docs/config.md", "utf8"), STALE).toBe(referenceMarkdown());
    expect(readFileSync("config/default.yaml", "utf8"), STALE).toBe(exampleYaml());
  });

  it("say something about every key", () => {
    const reference = referenceMarkdown();
    const names = [...allKeys.map(({ name }) => name), ...Object.keys(routeKeys)].filter((name) => name !== "routes");
    expect(names.filter((name) => !reference.includes(`| \`${name}\` |`))).toEqual([]);
    expect(allKeys.filter(({ key }) => !/^[A-Z].*\.$/.test(key.doc)).map(({ path }) => path)).toEqual([]);
  });

  it("hold an example that changes nothing", () => {
    const file = tempDirectory().write("pipit.yaml", exampleYaml());
    expect(loadConfig({ file, env: ENV }).config).toEqual(loadConfig({ env: ENV }).config);
  });

  it("hold an example whose every setting is right when its # is removed", () => {
    const temp = tempDirectory();
    temp.write("doorbell.jsonl", '{"text": "a box", "label": "parcel"}\n');
    const file = temp.write(
      "pipit.yaml",
      exampleYaml()
        .replaceAll(/^(\s*)#(?! )/gm, "$1")
        .replaceAll(/^#( {2,})/gm, "$1"),
    );
    const checked = checkConfig({ file, env: ENV });
    expect(checked.problems).toEqual([]);
    const { routes, ...sections } = checked.raw;
    const { routes: none, ...defaults } = checkConfig({ env: ENV }).raw;
    expect(sections).toEqual(defaults);
    expect([none.length, routes[0]?.reply_topic]).toEqual([0, "home/{1}/doorbell/kind"]);
  });
});

describe("effectiveText", () => {
  it("is YAML that loads to the same values, with the place of what is set", () => {
    const temp = tempDirectory();
    const env = { ...ENV, PIPIT_DEVICE_ID: "007", PIPIT_ROUTES: '[{"filter":"a/+","task":"answer","priority":3}]' };
    const checked = checkConfig({ env });
    const text = effectiveText(checked.raw, checked.sources);
    expect(text).toContain('  id: "007" # PIPIT_DEVICE_ID\n');
    expect((parse(text) as { device: unknown }).device).toEqual({ id: "007", base_topic: "pipit" });
    expect(loadConfig({ file: temp.write("again.yaml", text), env: ENV }).config).toEqual(loadConfig({ env }).config);
  });
});
