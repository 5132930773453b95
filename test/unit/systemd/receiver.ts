// A service manager's socket made by python3, because Node opens no Unix datagram socket: hands over each datagram.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const PROGRAM = `
import json, socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    print(json.dumps(s.recv(65536).decode()), flush=True)
`;

export interface Receiver {
  /** The next datagram, split into its lines. */
  next(): Promise<string[]>;
  close(): Promise<void>;
}

export async function listen(path: string): Promise<Receiver> {
  const child = spawn("python3", ["-c", PROGRAM, path], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    async next() {
      const line = await lines.next();
      if (line.done) throw new Error("the receiver has ended");
      return (JSON.parse(line.value) as string).split("\n");
    },
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill();
      await once(child, "exit");
    },
  };
}
