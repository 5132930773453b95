// Keys whose value names something outside the configuration: files, directories, models, addresses. Files must exist and
// be readable when the configuration is checked, so that a wrong name is found then and not in the night.
import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { about, mustBe, show } from "./key.ts";
import type { Key, KeySpec, Reading } from "./key.ts";

const MAX_URL_CHARACTERS = 2000;

/** The absolute path behind what was written: `~/…`, relative to the file it stands in, or absolute. */
export function absolute(written: string, reading: Pick<Reading, "directory" | "home">): string {
  if (written === "~" || written.startsWith("~/")) return resolve(reading.home, written.slice(2));
  return isAbsolute(written) ? resolve(written) : resolve(reading.directory, written);
}

/** A directory; it is made when it is needed. */
export function directory<D extends string | undefined = undefined>(spec: KeySpec<D>): Key<string | D> {
  return pathKey(spec, "the path of a directory", (path, reading) => {
    if (kindOf(path) === "file") reading.fault(`must be a directory, ${show(path)} is a file`);
  });
}

/** A file that must be there. Everybody on the machine may read a `private` one only with a warning. */
export function file(spec: KeySpec<undefined> & { access?: "public" | "private" }): Key<string | undefined> {
  const access = spec.access ?? "public";
  return { ...fileKey(spec, access, show), file: access };
}

export type SecretKey = Key<string | undefined> & { readonly file: "secret" };

/** A file that holds a secret, which the loader reads. What is written in the place of a path may be the secret itself. */
export function secretFile(spec: KeySpec<undefined>): SecretKey {
  return { ...fileKey(spec, "private", (path) => (path.includes("/") ? show(path) : "not shown")), file: "secret" };
}

function fileKey(
  spec: KeySpec<undefined>,
  access: "public" | "private",
  shown: (written: string) => string,
): Key<string | undefined> {
  return pathKey(spec, "the path of a file", (path, reading, written) => {
    const kind = kindOf(path);
    if (kind === "nothing") return reading.fault(`names a file that does not exist: ${shown(written)}`);
    if (kind === "directory") return reading.fault(`must be a file, ${shown(written)} is a directory`);
    if (!readable(path)) return reading.fault(`names a file that this user may not read: ${shown(written)}`);
    if (access === "private" && (statSync(path).mode & 0o004) !== 0) {
      reading.warn(`${path} can be read by every user of this machine: chmod 600 it`);
    }
    return undefined;
  });
}

/** A model: a name of the catalogue, or the path of a GGUF file. */
export function model<D extends string | undefined = undefined>(spec: KeySpec<D>): Key<string | D> {
  const takes = "a name of the catalogue (see `pipit models list`) or the path of a GGUF file";
  return {
    ...about<string | D>(spec),
    takes,
    parse: (written) => written,
    check(value, reading) {
      if (typeof value !== "string" || value.length === 0 || value.length > 4096 || value.includes("\0")) {
        return mustBe(takes, value, reading);
      }
      const isPath = value.includes("/") || value.toLowerCase().endsWith(".gguf");
      if (isPath) {
        const path = absolute(value, reading);
        return kindOf(path) === "file" ? path : reading.fault(`names a file that does not exist: ${show(value)}`);
      }
      return /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/.test(value) ? value : mustBe(takes, value, reading);
    },
  };
}

/** An address of one of the `protocols`. User names and passwords do not belong into it. */
export function url<D extends string | undefined = undefined>(
  spec: KeySpec<D> & { protocols: readonly string[]; credentials: string },
): Key<string | D> {
  const takes = `an address that begins with ${spec.protocols.map((name) => `${name}://`).join(", ")}`;
  return {
    ...about<string | D>(spec),
    takes,
    parse: (written) => written.trim(),
    check(value, reading) {
      if (typeof value !== "string" || value.length > MAX_URL_CHARACTERS || !URL.canParse(value)) {
        return mustBe(takes, hidden(value), reading);
      }
      const parsed = new URL(value);
      if (parsed.username !== "" || parsed.password !== "") {
        return reading.fault(`must not carry a user name or password: use ${spec.credentials}`);
      }
      const known = spec.protocols.includes(parsed.protocol.slice(0, -1)) && parsed.hostname !== "";
      return known ? value : mustBe(takes, hidden(value), reading);
    },
  };
}

/** A malformed address may still hold a password before its `@`. */
function hidden(value: unknown): unknown {
  return typeof value === "string" ? value.slice(0, MAX_URL_CHARACTERS).replace(/[^/]*@/, "…@") : value;
}

function pathKey<D extends string | undefined>(
  spec: KeySpec<D>,
  takes: string,
  look: (path: string, reading: Reading, written: string) => void,
): Key<string | D> {
  return {
    ...about<string | D>(spec),
    takes,
    parse: (written) => written,
    check(value, reading) {
      if (typeof value !== "string" || value.length === 0 || value.length > 4096 || value.includes("\0")) {
        return mustBe(takes, value, reading);
      }
      const path = absolute(value, reading);
      look(path, reading, value);
      return path;
    },
  };
}

function kindOf(path: string): "file" | "directory" | "nothing" {
  try {
    return statSync(path).isDirectory() ? "directory" : "file";
  } catch {
    return "nothing";
  }
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
