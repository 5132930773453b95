// Users and access list of the embedded broker, in mosquitto's own file formats (mosquitto_passwd(1), `acl_file` in
// mosquitto.conf(5)), so that the examples in the documentation serve both brokers and users can move to a real one.
//
//   users:  name:$7$<iterations>$<salt, base64>$<PBKDF2-SHA512, base64>
//   access: topic [read|write|readwrite|deny] <filter>     for everybody without a name, or for the user named above it
//           user <name>
//           pattern [read|write|readwrite|deny] <filter>   for everybody; %u is the user name, %c the client id
//
// As in mosquitto: what no line allows is refused, `deny` beats all others, and reading is checked at delivery.
import { pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { PipitError } from "../core/errors.ts";
import { filterFault, matchFilter } from "../core/topics.ts";

export type Access = "read" | "write";

export interface Identity {
  clientId: string;
  username?: string;
}

interface Rule {
  access: Access | "readwrite" | "deny";
  filter: string;
  /** Undefined: clients without a user name. */
  user: string | undefined;
  pattern: boolean;
}

const KEY_BYTES = 64;
const derive = promisify(pbkdf2);

export class AccessList {
  readonly #rules: Rule[];

  private constructor(rules: Rule[]) {
    this.#rules = rules;
  }

  /** Throws a `config` PipitError that lists every line that cannot be read. */
  static parse(text: string, file: string): AccessList {
    const rules: Rule[] = [];
    const faults: string[] = [];
    let user: string | undefined;
    for (const [index, line] of lines(text)) {
      const [word, ...rest] = line.split(/\s+/);
      if (word === "user" && rest.length > 0) {
        user = rest.join(" ");
      } else if ((word === "topic" || word === "pattern") && rest.length > 0) {
        const access = rest.length > 1 && isAccess(rest[0]) ? rest[0] : undefined;
        const filter = (access === undefined ? rest : rest.slice(1)).join(" ");
        const fault = filterFault(filter);
        if (fault !== undefined) faults.push(`line ${index}: filter "${filter}" ${fault}`);
        rules.push({ access: access ?? "readwrite", filter, user, pattern: word === "pattern" });
      } else {
        faults.push(`line ${index}: "${line}" is neither user, topic nor pattern`);
      }
    }
    if (faults.length > 0) throw new PipitError("config", "access_file", `${file}: ${faults.join("; ")}`);
    return new AccessList(rules);
  }

  allows(access: Access, topic: string, identity: Identity): boolean {
    let allowed = false;
    for (const rule of this.#rules) {
      if (!applies(rule, identity) || !covers(rule, topic, identity)) continue;
      if (rule.access === "deny") return false;
      if (rule.access === "readwrite" || rule.access === access) allowed = true;
    }
    return allowed;
  }
}

function isAccess(word: string | undefined): word is Rule["access"] {
  return word === "read" || word === "write" || word === "readwrite" || word === "deny";
}

function applies(rule: Rule, { username }: Identity): boolean {
  return rule.pattern || rule.user === username;
}

function covers(rule: Rule, topic: string, { clientId, username }: Identity): boolean {
  if (!rule.pattern) return matchFilter(rule.filter, topic) !== undefined;
  if (rule.filter.includes("%u") && username === undefined) return false;
  // A name with a wildcard or a level separator in it would widen the pattern.
  if (/[+#/]/.test(rule.filter.includes("%u") ? (username ?? "") : "")) return false;
  if (/[+#/]/.test(rule.filter.includes("%c") ? clientId : "")) return false;
  const filter = rule.filter.replaceAll("%u", username ?? "").replaceAll("%c", clientId);
  return matchFilter(filter, topic) !== undefined;
}

export class Users {
  readonly #hashes: Map<string, string>;

  private constructor(hashes: Map<string, string>) {
    this.#hashes = hashes;
  }

  static parse(text: string, file: string): Users {
    const hashes = new Map<string, string>();
    const faults: string[] = [];
    for (const [index, line] of lines(text)) {
      const colon = line.indexOf(":");
      const hash = line.slice(colon + 1);
      if (colon < 1) faults.push(`line ${index} has no name before a colon`);
      else if (!/^\$7\$\d+\$[^$]+\$[^$]+$/.test(hash))
        faults.push(`line ${index} has no $7$ hash (see mosquitto_passwd)`);
      else hashes.set(line.slice(0, colon), hash);
    }
    if (faults.length > 0) throw new PipitError("config", "users_file", `${file}: ${faults.join("; ")}`);
    return new Users(hashes);
  }

  async verify(name: string | undefined, password: Uint8Array | undefined): Promise<boolean> {
    const hash = this.#hashes.get(name ?? "");
    // An unknown name takes as long as a wrong password.
    const [, , iterations, salt, key] = (hash ?? `$7$101$AAAA$${"A".repeat(88)}`).split("$");
    const wanted = Buffer.from(key ?? "", "base64");
    const got = await derive(
      password ?? "",
      Buffer.from(salt ?? "", "base64"),
      Number(iterations),
      KEY_BYTES,
      "sha512",
    );
    return wanted.length === KEY_BYTES && timingSafeEqual(got, wanted) && hash !== undefined;
  }
}

/** One line of a users file. */
export async function userLine(name: string, password: string): Promise<string> {
  const iterations = 10_000;
  const salt = randomBytes(12);
  const key = await derive(password, salt, iterations, KEY_BYTES, "sha512");
  return `${name}:$7$${iterations}$${salt.toString("base64")}$${key.toString("base64")}`;
}

/** Lines with content, numbered from 1. */
function lines(text: string): [number, string][] {
  return text
    .split(/\r?\n/)
    .map((line, index): [number, string] => [index + 1, line.trim()])
    .filter(([, line]) => line !== "" && !line.startsWith("#"));
}
