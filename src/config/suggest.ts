// Which key or variable somebody meant who wrote one that the schema does not have.
import { nearest } from "./nearest.ts";
import { allKeys, keyAt, sections } from "./schema.ts";

const SECTION_NAMES = Object.keys(sections);

/** The known key that is nearest to an unknown one: in its section, in the section it meant, or of the same name. */
export function suggestKey(path: string): string | undefined {
  const [section = "", ...rest] = path.split(".");
  const name = rest.join(".");
  if (name === "") {
    const same = allKeys.find((each) => each.section !== "" && each.name === section);
    return same?.path ?? nearest(section, [...SECTION_NAMES, "routes"]);
  }
  const meant = SECTION_NAMES.includes(section) ? section : nearest(section, SECTION_NAMES);
  const siblings = allKeys.filter((each) => each.section === meant).map((each) => each.name);
  const sibling = nearest(name, siblings);
  if (sibling !== undefined) return `${meant}.${sibling}`;
  const elsewhere = allKeys.find((each) => each.name === name)?.path;
  return elsewhere ?? nearest(path, [...keyAt.keys()]);
}

/** The same for a variable: `PIPIT_BROKER_PASWORD` is meant as `broker.pasword`. */
export function suggestVariable(variable: string): string | undefined {
  const all = allKeys.flatMap(({ variables }) => variables);
  const words = variable.replace(/^PIPIT_/, "").toLowerCase();
  const section = SECTION_NAMES.find((each) => words.startsWith(`${each}_`));
  const path = section === undefined ? undefined : suggestKey(`${section}.${words.slice(section.length + 1)}`);
  return keyAt.get(path ?? "")?.variables[0] ?? nearest(variable, all);
}
