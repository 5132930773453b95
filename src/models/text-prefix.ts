// Some encoders were trained with a few words before every text and are worse without them. An imported file says so itself;
// the E5 family is known by its name, since nothing in its files tells.
import type { GgufHeader } from "./gguf-header.ts";

export const PREFIX_KEY = "pipit.text_prefix";
export const MAX_PREFIX_CHARACTERS = 200;

const E5 = /(^|[^a-z0-9])e5-(small|base|large)\b/i;
/** For texts that are compared with each other and for features of classifiers, as its model card says. */
const E5_PREFIX = "query: ";

/** What shall stand before every text; undefined for nothing. */
export function textPrefix(name: string, header: Pick<GgufHeader, "metadata" | "name">): string | undefined {
  const stored = header.metadata.get(PREFIX_KEY);
  if (typeof stored === "string") return stored === "" ? undefined : stored;
  return [name, header.name ?? ""].some((each) => E5.test(each)) ? E5_PREFIX : undefined;
}
