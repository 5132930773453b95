// Keys of who this agent is and of the broker it talks to.
import { file, secretFile, url } from "./key-files.ts";
import { baseTopicFault } from "./key-topics.ts";
import { choice, derived, flag, integer, text } from "./key.ts";

const DEVICE_ID = /^[A-Za-z0-9_.-]{1,64}$/;

export const device = {
  id: derived(
    text({
      doc: "Name of this board in topics and on the broker.",
      pattern: DEVICE_ID,
      takes: "1 to 64 of the characters A-Z a-z 0-9 _ . -",
      shorthand: "device",
    }),
    "the host name",
    ({ hostName }) => hostName.replaceAll(/[^A-Za-z0-9_.-]/g, "-").slice(0, 64) || "pipit",
  ),
  base_topic: text({
    doc: "First level or levels of every topic of the agents of a site.",
    default: "pipit",
    faultOf: baseTopicFault,
  }),
};

export const broker = {
  url: url({
    doc: "Address of the MQTT broker.",
    default: "mqtt://127.0.0.1:1883",
    protocols: ["mqtt", "mqtts", "ws", "wss"],
    credentials: "broker.username and broker.password_file",
    shorthand: "broker",
  }),
  username: text({ doc: "User name at the broker; none: anonymous." }),
  password_file: secretFile({ doc: "File with the password of that user." }),
  client_id: derived(
    text({
      doc: "MQTT client identifier; must stay the same, the broker keeps the session under it.",
      maxCharacters: 128,
    }),
    "`pipit-` and device.id",
    (of) => `pipit-${of.text("device.id")}`,
  ),
  protocol_version: choice({
    doc: "MQTT version: 5, 4 (which is 3.1.1), or auto: 5 first, 3.1.1 when the broker refuses it.",
    values: ["auto", 5, 4],
    default: "auto",
  }),
  keepalive_s: integer({ doc: "Longest silence before a ping.", min: 5, max: 65_535, unit: "s", default: 30 }),
  connect_timeout_ms: integer({
    doc: "Longest wait for the broker to accept a connection.",
    min: 500,
    max: 120_000,
    unit: "ms",
    default: 10_000,
  }),
  session_expiry_s: integer({
    doc: "How long the broker keeps questions for this agent while it is away (MQTT 5).",
    min: 0,
    max: 4_294_967_295,
    unit: "s",
    default: 86_400,
  }),
  receive_maximum: integer({
    doc: "Questions the broker may have under way to this agent without an acknowledgement (MQTT 5).",
    min: 1,
    max: 65_535,
    unit: "messages",
    default: 20,
  }),
  ca_file: file({ doc: "Certificates (PEM) to check the broker's by, instead of those of the system." }),
  cert_file: file({ doc: "Client certificate (PEM), for brokers that ask for one." }),
  key_file: file({ doc: "Private key (PEM) of the client certificate.", access: "private" }),
  insecure: flag({
    doc: "Accept any certificate of the broker. Whoever stands between can then read and forge everything.",
    default: false,
  }),
  embedded: flag({
    doc: "Run a broker inside the agent and use it instead of `url`; for a single board without one.",
    default: false,
    shorthand: "embedded",
  }),
  embedded_host: text({
    doc: "Address the embedded broker listens on; 0.0.0.0 for every network of the board.",
    default: "127.0.0.1",
    pattern: /^[A-Za-z0-9.:-]+$/,
    takes: "an IP address or host name",
  }),
  embedded_port: integer({
    doc: "Port of the embedded broker.",
    min: 1,
    max: 65_535,
    zero: "any free port",
    default: 1883,
  }),
  embedded_websocket_port: integer({
    doc: "Port of the embedded broker for MQTT over WebSocket; none: no WebSocket.",
    min: 1,
    max: 65_535,
    zero: "any free port",
  }),
  embedded_users_file: file({
    doc: "Users of the embedded broker and their passwords; none: everybody who reaches it.",
    access: "private",
  }),
  embedded_access_file: file({ doc: "What each user of the embedded broker may publish and read; none: everything." }),
  embedded_cert_file: file({ doc: "Certificate (PEM) of the embedded broker; with it, it speaks TLS only." }),
  embedded_key_file: file({ doc: "Private key (PEM) of that certificate.", access: "private" }),
  embedded_ca_file: file({ doc: "Certificates (PEM); clients of the embedded broker then need one signed by them." }),
};
