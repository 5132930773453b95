// What MQTT.js, Node's sockets and OpenSSL report, as one error with a code and a sentence a person can act on. All faults of
// a connection are transient: a broker that is absent, locked or misconfigured today may serve us tomorrow.
import { PipitError, toError } from "../core/errors.ts";

export type ConnectFaultCode =
  "protocol_refused" | "not_authorized" | "client_id_refused" | "refused" | "clock_not_set" | "tls" | "unreachable";

const REFUSALS: Record<number, ConnectFaultCode> = {
  // CONNACK return codes of 3.1.1 (§3.2.2.3) and reason codes of 5 (§3.2.2.2): they do not overlap.
  1: "protocol_refused",
  2: "client_id_refused",
  4: "not_authorized",
  5: "not_authorized",
  0x84: "protocol_refused",
  0x85: "client_id_refused",
  0x86: "not_authorized",
  0x87: "not_authorized",
};

const TLS_CODE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_|ERR_SSL_|ERR_OSSL_|HOSTNAME_MISMATCH|INVALID_CA)/;

export function connectFault(thrown: unknown): PipitError {
  const error = toError(thrown);
  const { code } = error as { code?: unknown };
  if (typeof code === "number") return fault(REFUSALS[code] ?? "refused", error.message, error);
  if (code === "CERT_NOT_YET_VALID") {
    const sentence =
      "the broker's certificate is not yet valid: the clock of this machine may not be set, waiting for it";
    return fault("clock_not_set", sentence, error);
  }
  if (typeof code === "string" && TLS_CODE.test(code)) return fault("tls", `TLS: ${error.message} (${code})`, error);
  return fault("unreachable", error.message === "" ? String(code ?? "connection failed") : error.message, error);
}

function fault(code: ConnectFaultCode, message: string, cause: Error): PipitError {
  return new PipitError("transient", code, message, { cause });
}

/** A publish that will never be acknowledged, because its connection is gone. */
export function linkDown(reason: string): PipitError {
  return new PipitError("transient", "link_down", `the link to the broker is down: ${reason}`);
}

/** A PUBACK with an error (MQTT 5 §3.4.2.1). Quota and server trouble pass; the rest would be refused again. */
export function publishFault(thrown: unknown, topic: string): PipitError {
  const error = toError(thrown);
  const { code } = error as { code?: unknown };
  const message = `the broker refused a message to ${topic}: ${error.message}`;
  const lasting = code === 0x87 || code === 0x90 || code === 0x99;
  if (lasting)
    return new PipitError("request", code === 0x87 ? "not_allowed" : "bad_request", message, { cause: error });
  return new PipitError("transient", "publish_refused", message, { cause: error });
}
