import { describe, expect, it } from "vitest";
import { checkConfig, loadConfig } from "../../../src/config/load.ts";
import { tempDirectory } from "./temp.ts";

const ENV = { HOME: "/home/somebody", PIPIT_BROKER_USERNAME: "pi" };

describe("secrets", () => {
  it.each([
    ["hunter2\n", "hunter2"],
    ["hunter2\r\n", "hunter2"],
    [" spaces stay \n\n", " spaces stay \n"],
  ])("reads %j as %j", (written, secret) => {
    const file = tempDirectory().write("password", written);
    const loaded = loadConfig({ env: { ...ENV, PIPIT_BROKER_PASSWORD_FILE: file } });
    expect(loaded.secret("broker.password")).toBe(secret);
    expect(JSON.stringify(loaded)).not.toContain(secret);
  });

  it("warns when everybody may read the file of a secret or of a private key", () => {
    const temp = tempDirectory();
    const env = {
      ...ENV,
      PIPIT_BROKER_PASSWORD_FILE: temp.write("password", "x", 0o644),
      PIPIT_BROKER_KEY_FILE: temp.write("key", "x", 0o644),
      PIPIT_BROKER_CERT_FILE: temp.write("cert", "x", 0o644),
    };
    expect(loadConfig({ env }).warnings).toEqual([
      expect.stringMatching(/^broker.password_file: .* can be read by every user of this machine: chmod 600 it/),
      expect.stringMatching(/^broker.key_file: .* can be read by every user/),
    ]);
  });

  it("refuses an empty file, a directory, and a secret in the place of a path, without showing it", () => {
    const temp = tempDirectory();
    const messages = [temp.write("empty", "\n"), temp.path, "hunter2"].map((file) => {
      const { problems } = checkConfig({ env: { ...ENV, PIPIT_BROKER_PASSWORD_FILE: file } });
      return problems.map(({ key, message }) => `${key} ${message}`).join();
    });
    expect(messages).toEqual([
      `broker.password_file names an empty file: ${temp.path}/empty`,
      `broker.password_file must be a file, ${JSON.stringify(temp.path)} is a directory`,
      "broker.password_file names a file that does not exist: not shown",
    ]);
  });

  it("finds systemd credentials by themselves, below whatever is configured", () => {
    const temp = tempDirectory();
    temp.write("broker_password", "from systemd\n");
    temp.write("broker_ca", "certificate");
    const env = { ...ENV, CREDENTIALS_DIRECTORY: temp.path };
    const loaded = loadConfig({ env });
    expect(loaded.secret("broker.password")).toBe("from systemd");
    expect(loaded.config.broker.caFile).toBe(`${temp.path}/broker_ca`);
    expect(checkConfig({ env }).sources.get("broker.password_file")).toBe("credential broker_password");

    const other = temp.write("other", "configured");
    expect(loadConfig({ env: { ...env, PIPIT_BROKER_PASSWORD_FILE: other } }).secret("broker.password")).toBe(
      "configured",
    );
  });

  it("warns when a password would go over the network unencrypted", () => {
    const file = tempDirectory().write("password", "x");
    const env = { ...ENV, PIPIT_BROKER_PASSWORD_FILE: file };
    expect(loadConfig({ env: { ...env, PIPIT_BROKER_URL: "mqtt://far.example" } }).warnings).toHaveLength(1);
    expect(loadConfig({ env: { ...env, PIPIT_BROKER_URL: "mqtts://far.example" } }).warnings).toEqual([]);
    expect(loadConfig({ env }).warnings).toEqual([]);
  });
});
