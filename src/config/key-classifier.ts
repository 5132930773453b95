// The key of one classifier within the configuration.
import { resolve } from "node:path";
import type { ClassifierKind, LabelledText } from "../core/classifier.ts";
import type { Label } from "../core/route.ts";
import { definitionFrom } from "./classifier-fields.ts";
import { about, type Key, type KeySpec, mustBe } from "./key.ts";
import { isPlain } from "./key-lists.ts";

/** As it stands in the configuration, names of files made absolute. */
export interface ClassifierSettings {
  name: string;
  kind?: ClassifierKind;
  question?: string;
  labels?: readonly (string | Label)[];
  examples?: string | readonly (string | LabelledText)[];
  threshold?: number;
  out_of_scope?: number | "auto" | "off";
  abstain_label?: string;
  decoder_margin?: number;
  model?: string;
}

export function classifier(spec: KeySpec<undefined>): Key<ClassifierSettings | undefined> {
  const takes = "a classifier with a name";
  return {
    ...about<ClassifierSettings | undefined>(spec),
    takes,
    parse: (written) => written,
    check(value, reading) {
      if (!isPlain(value)) return mustBe(takes, value, reading);
      const faults: string[] = [];
      definitionFrom(value, reading.directory, faults);
      for (const fault of faults) reading.fault(fault);
      if (faults.length > 0) return undefined;
      const absolute = (part: unknown) => (typeof part === "string" ? resolve(reading.directory, part) : part);
      const { examples, model } = value;
      return {
        ...value,
        ...(examples !== undefined && {
          examples: Array.isArray(examples) ? examples.map(absolute) : absolute(examples),
        }),
        ...(typeof model === "string" && model.includes("/") && { model: absolute(model) }),
      } as unknown as ClassifierSettings;
    },
  };
}
