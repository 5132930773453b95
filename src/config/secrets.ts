// Secrets come from files only: named by a `…_file` key, or put by systemd into the directory of credentials.
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { allKeys } from "./schema.ts";
import type { RawConfig, SecretName } from "./schema.ts";
import type { Setting } from "./setting.ts";

const MAX_SECRET_BYTES = 65_536;

/**
 * Files of `$CREDENTIALS_DIRECTORY` (systemd LoadCredential=) as settings: `broker_password` for broker.password_file,
 * `broker_key` for broker.key_file, and so on. They count like the lowest layer: whatever is configured goes over them.
 */
export function credentialSettings(env: NodeJS.ProcessEnv): Setting[] {
  const directory = env["CREDENTIALS_DIRECTORY"];
  if (!directory) return [];
  return allKeys.flatMap(({ path, key }) => {
    if (key.file === undefined) return [];
    const name = path.replace(".", "_").replace(/_file$/, "");
    const file = join(directory, name);
    if (!existsSync(file)) return [];
    return [{ path, value: file, source: "environment", directory, where: () => `credential ${name}` }];
  });
}

/** The texts of all secret files that are set, by the name of the secret; one line break at the end is not part of it. */
export function readSecrets(raw: RawConfig, fault: (path: string, message: string) => void): Map<SecretName, string> {
  const secrets = new Map<SecretName, string>();
  for (const { path, section, name, key } of allKeys) {
    if (key.file !== "secret") continue;
    const file = (raw as unknown as Record<string, Record<string, string | undefined>>)[section]?.[name];
    if (file === undefined) continue;
    const text = readSecret(file, (message) => fault(path, message));
    if (text !== undefined) secrets.set(path.replace(/_file$/, "") as SecretName, text);
  }
  return secrets;
}

function readSecret(file: string, fault: (message: string) => void): string | undefined {
  try {
    if (statSync(file).size > MAX_SECRET_BYTES) {
      fault(`names a file of more than ${MAX_SECRET_BYTES} bytes, that is no secret: ${file}`);
      return undefined;
    }
    const text = readFileSync(file, "utf8").replace(/\r?\n$/, "");
    if (text !== "") return text;
    fault(`names an empty file: ${file}`);
  } catch (error) {
    fault(`names a file that cannot be read: ${file} (${(error as NodeJS.ErrnoException).code ?? "error"})`);
  }
  return undefined;
}
