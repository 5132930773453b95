// Sends to the service manager's socket. Node opens no Unix datagram socket (`net.connect` fails with EPROTOTYPE), so
// libc is called through koffi (6 µs a message, measured); without koffi a `systemd-notify` child does it (10 ms, and the
// unit then needs NotifyAccess=all, because the message comes from another process than the main one).
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { toError } from "../core/errors.ts";

/** One way to hand a datagram of `KEY=VALUE` lines to the manager. */
export interface DatagramSender {
  readonly means: "koffi" | "systemd-notify";
  send(lines: string[]): Promise<void>;
  close(): void;
}

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 0x80002;
// A full socket buffer must not block the event loop: systemd drops nothing, but a stopped receiver would hold us.
const MSG_DONTWAIT_NOSIGNAL = 0x4040;

/** `sockaddr_un` of a path, or of an abstract name written with a leading `@`. Throws a RangeError beyond 108 bytes. */
export function socketAddress(path: string): Buffer {
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`, "utf8");
  if (name.length > 108) throw new RangeError(`NOTIFY_SOCKET takes at most 107 bytes, got ${name.length - 1}: ${path}`);
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, name]);
}

/** Rejects when koffi is not installed, has no build for this machine, or the socket cannot be made. */
export async function openWithKoffi(path: string): Promise<DatagramSender> {
  const { default: koffi } = await import("koffi");
  const libc = koffi.load("libc.so.6");
  const socket = libc.func("int socket(int domain, int type, int protocol)");
  const sendto = libc.func(
    "int sendto(int fd, void *bytes, size_t length, int flags, void *address, int addressLength)",
  );
  const close = libc.func("int close(int fd)");
  const address = socketAddress(path);
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0) as number;
  if (fd < 0) throw new Error(`socket(AF_UNIX): errno ${koffi.errno()}`);
  return {
    means: "koffi",
    send(lines) {
      const bytes = Buffer.from(lines.join("\n"), "utf8");
      const sent = sendto(fd, bytes, bytes.length, MSG_DONTWAIT_NOSIGNAL, address, address.length) as number;
      if (sent === bytes.length) return Promise.resolve();
      return Promise.reject(new Error(`sendto(${path}): errno ${koffi.errno()}`));
    },
    close: () => void close(fd),
  };
}

/** Rejects when there is no `systemd-notify` on the path. The child finds the socket in NOTIFY_SOCKET of `env`. */
export async function openWithChild(_path: string, env: NodeJS.ProcessEnv): Promise<DatagramSender> {
  const run = promisify(execFile);
  await run("systemd-notify", ["--version"], { env });
  return {
    means: "systemd-notify",
    async send(lines) {
      // Without --no-block the child waits for a barrier that only a real manager answers (3 s hang, measured).
      await run("systemd-notify", ["--no-block", ...lines], { env, timeout: 5000 }).catch((thrown: unknown) => {
        throw new Error(`systemd-notify: ${toError(thrown).message}`);
      });
    },
    close: () => undefined,
  };
}

/** Whether koffi works here, so that a unit may keep NotifyAccess=main. */
export async function canSendDirectly(): Promise<boolean> {
  try {
    const { default: koffi } = await import("koffi");
    koffi.load("libc.so.6");
    return true;
  } catch {
    return false;
  }
}
