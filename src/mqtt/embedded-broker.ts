// A broker for those who have none: aedes in this process, MQTT 3.1.1 over TCP and, on request, WebSocket. For trying Pipit
// and for a single board; memory only, so a restart forgets sessions. Loopback unless told otherwise. Everything it holds is
// bounded: connections, packet size, queues of absent clients, retained topics.
import { readFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer } from "node:tls";
import type { TlsOptions } from "node:tls";
import { Aedes } from "aedes";
import type { AuthenticateError, Client } from "aedes";
import { createWebSocketStream, WebSocketServer } from "ws";
import { PipitError, toError } from "../core/errors.ts";
import type { Logger } from "../core/ports.ts";
import { AccessList, Users } from "./access-list.ts";
import type { Access } from "./access-list.ts";
import { boundPersistence } from "./bounded-persistence.ts";
import type { Persistence } from "./bounded-persistence.ts";
import { PacketSizeGuard } from "./packet-size-guard.ts";
import { originAllowed } from "./web-origin.ts";
import { SessionOwners } from "./session-owners.ts";
import { DEFAULT_SUBSCRIPTIONS, SubscriptionBounds } from "./subscription-bounds.ts";
import type { SubscriptionLimits } from "./subscription-bounds.ts";

export interface EmbeddedBrokerOptions {
  /** Address to listen on; loopback by default. */
  host?: string;
  /** 0 takes a free port; see `port` of the broker. */
  port?: number;
  /** Also listens for WebSocket; 0 takes a free port. */
  webSocketPort?: number;
  /** Web pages that may connect besides those of this host itself, for example `http://panel.local`. */
  webSocketOrigins?: readonly string[];
  /** PEM files; with a CA, clients need a certificate of it. */
  tls?: { certFile: string; keyFile: string; caFile?: string };
  /** See access-list.ts for both formats. Without users everybody may connect; without an access list users may do all. */
  usersFile?: string;
  accessFile?: string;
  maxConnections?: number;
  maxPacketBytes?: number;
  maxQueuedMessages?: number;
  maxQueuedBytes?: number;
  maxRetainedMessages?: number;
  subscriptions?: SubscriptionLimits;
}

const DEFAULTS = {
  host: "127.0.0.1",
  port: 1883,
  webSocketOrigins: [] as readonly string[],
  maxConnections: 128,
  maxPacketBytes: 65_536,
  maxQueuedMessages: 1_000,
  maxQueuedBytes: 8 * 1024 * 1024,
  maxRetainedMessages: 1_000,
  subscriptions: DEFAULT_SUBSCRIPTIONS,
};

const LOOPBACK = new Set(["127.0.0.1", "::1", "localhost"]);
const DRAIN_TIMEOUT_MS = 5_000;
const MAX_CLIENT_ID_CHARACTERS = 256;
// CONNACK codes of MQTT 3.1.1 (§3.2.2.3).
const IDENTIFIER_REJECTED = 2;
const NOT_AUTHORIZED = 5;

export class EmbeddedBroker {
  readonly #options: EmbeddedBrokerOptions & typeof DEFAULTS;
  readonly #logger: Logger;
  /** Accepted sockets, also those that are still in the middle of a handshake. */
  readonly #sockets = new Set<Socket>();
  readonly #servers: Server[] = [];
  readonly #owners = new SessionOwners();
  readonly #subscriptions: SubscriptionBounds;
  #refusedOne = false;
  #aedes: Aedes | undefined;
  #port: number | undefined;
  #webSocketPort: number | undefined;

  constructor(options: EmbeddedBrokerOptions, logger: Logger) {
    this.#options = { ...DEFAULTS, ...options };
    this.#subscriptions = new SubscriptionBounds(this.#options.subscriptions);
    this.#logger = logger;
  }

  /** The port it listens on, once started. */
  get port(): number | undefined {
    return this.#port;
  }

  get webSocketPort(): number | undefined {
    return this.#webSocketPort;
  }

  /** Where this machine's own clients connect to. */
  get url(): string {
    const { host, tls } = this.#options;
    const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
    return `${tls ? "mqtts" : "mqtt"}://${reachable.includes(":") ? `[${reachable}]` : reachable}:${this.#port}`;
  }

  /** Rejects with a `config` PipitError for files that cannot be used and a port that is taken. */
  async start(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { host, port, webSocketPort, usersFile } = this.#options;
    const tls = await this.#tlsOptions();
    const aedes = await this.#createBroker();
    this.#aedes = aedes;
    try {
      const tcp = tls
        ? createTlsServer({ ...tls, noDelay: true }, (socket) => this.#accept(socket))
        : createTcpServer({ noDelay: true }, (socket) => this.#accept(socket));
      this.#port = await this.#listen(tcp, port);
      if (webSocketPort !== undefined)
        this.#webSocketPort = await this.#listen(this.#webSocketServer(tls), webSocketPort);
    } catch (error) {
      await this.stop();
      throw error;
    }
    if (!LOOPBACK.has(host) && usersFile === undefined) {
      this.#logger.warn({ host }, "the embedded broker is open to the network without users: set broker.users_file");
    }
    this.#logger.info({ url: this.url, web_socket_port: this.#webSocketPort }, "embedded broker listens");
  }

  /** Closes every connection. Idempotent. */
  async stop(): Promise<void> {
    const closed = this.#servers
      .splice(0)
      .map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    const aedes = this.#aedes;
    this.#aedes = undefined;
    if (aedes) await new Promise<void>((resolve) => aedes.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }

  async #createBroker(): Promise<Aedes> {
    const { usersFile, accessFile } = this.#options;
    const users = usersFile === undefined ? undefined : Users.parse(await text(usersFile), usersFile);
    const access = accessFile === undefined ? undefined : AccessList.parse(await text(accessFile), accessFile);
    const names = new WeakMap<Client, string>();
    const may = (what: Access, topic: string, client: Client | null): boolean => {
      if (access === undefined || client === null) return true;
      const username = names.get(client);
      return access.allows(
        what,
        topic,
        username === undefined ? { clientId: client.id } : { clientId: client.id, username },
      );
    };
    const aedes = await Aedes.createBroker({
      // A client that does not read holds up everybody's messages for this long.
      drainTimeout: DRAIN_TIMEOUT_MS,
      authenticate: (client, username, password, done) => {
        if (client.id.length > MAX_CLIENT_ID_CHARACTERS)
          return done(identifierRejected("the client id is too long"), false);
        if (username !== undefined) names.set(client, username);
        if (users === undefined) return done(null, true);
        users.verify(username, password).then(
          (right) => {
            const fault = right ? this.#sessionFault(client.id, username ?? "") : notAuthorized();
            done(fault, fault === null);
          },
          () => done(notAuthorized(), false),
        );
      },
      authorizePublish: (client, { topic }, done) => {
        if (topic.startsWith("$SYS/")) done(new Error("$SYS is the broker's own"));
        else if (may("write", topic, client)) done(null);
        else done(new Error(`the access list does not let this client publish to ${topic}`));
      },
      authorizeSubscribe: (client, subscription, done) => {
        const fault = this.#subscriptions.fault(client.id, subscription.topic);
        if (fault !== undefined) this.#subscriptionRefused(client.id, fault);
        done(null, fault === undefined ? subscription : null);
      },
      authorizeForward: (client, packet) => (may("read", packet.topic, client) ? packet : null),
    });
    this.#observe(aedes);
    return aedes;
  }

  /** Said once: whoever asks for too many asks for a hundred thousand. */
  #subscriptionRefused(clientId: string, fault: string): void {
    const say = this.#refusedOne ? this.#logger.debug : this.#logger.warn;
    this.#refusedOne = true;
    say.call(this.#logger, { client_id: clientId }, `a subscription was refused: ${fault}`);
  }

  #sessionFault(clientId: string, username: string): AuthenticateError | null {
    if (this.#owners.claim(clientId, username)) return null;
    this.#logger.warn({ client_id: clientId, username }, "a user wants the session of another user: refused");
    return identifierRejected("the client id is another user's");
  }

  #observe(aedes: Aedes): void {
    const { maxQueuedMessages, maxQueuedBytes, maxRetainedMessages } = this.#options;
    const { persistence, clients } = aedes as unknown as { persistence: Persistence; clients: Record<string, Client> };
    const forget = boundPersistence(
      persistence,
      { queuedMessages: maxQueuedMessages, queuedBytes: maxQueuedBytes, retainedMessages: maxRetainedMessages },
      (clientId) => clients[clientId] !== undefined,
      this.#logger,
    );
    aedes.on("client", (client) => forget(client.id));
    aedes.on("clientDisconnect", (client) => {
      if (!(client as Client & { clean: boolean }).clean) return;
      this.#owners.release(client.id);
      this.#subscriptions.end(client.id);
    });
    aedes.on("unsubscribe", (filters, { id }) => {
      for (const filter of filters) this.#subscriptions.remove(id, filter);
    });
    const failed = (client: Client, error: Error) => {
      this.#logger.debug({ client_id: client.id, reason: error.message }, "a client of the embedded broker failed");
    };
    aedes.on("clientError", failed);
    aedes.on("connectionError", failed);
  }

  #accept(stream: Duplex): void {
    const guard = new PacketSizeGuard(this.#options.maxPacketBytes);
    const read = stream.read.bind(stream);
    // aedes takes its bytes by read(): the one place to stop a packet before it is collected.
    stream.read = (size?: number): unknown => {
      const chunk = read(size) as Buffer | null;
      if (chunk === null || guard.accept(chunk)) return chunk;
      this.#logger.warn({ limit: this.#options.maxPacketBytes }, "a client sent a packet over the limit: disconnected");
      stream.destroy();
      return null;
    };
    if (this.#aedes) this.#aedes.handle(stream);
    else stream.destroy();
  }

  #webSocketServer(tls: TlsOptions | undefined): Server {
    const server = tls ? createHttpsServer(tls) : createHttpServer();
    const sockets = new WebSocketServer({
      server,
      maxPayload: this.#options.maxPacketBytes + 5,
      // Any web page may open a WebSocket to this machine: without this check it would be let in with the user's rights.
      verifyClient: ({ origin, req }: { origin: string | undefined; req: { headers: { host?: string } } }) =>
        originAllowed(origin, req.headers.host, this.#options.webSocketOrigins),
    });
    sockets.on("connection", (socket) => this.#accept(createWebSocketStream(socket)));
    return server;
  }

  async #listen(server: Server, port: number): Promise<number> {
    const { host, maxConnections } = this.#options;
    server.maxConnections = maxConnections;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => {
        const message = `the embedded broker cannot listen on ${host}:${port}: ${error.message}`;
        reject(new PipitError("config", "broker_port", message, { cause: error }));
      });
      server.listen(port, host, resolve);
    });
    this.#servers.push(server);
    return (server.address() as AddressInfo).port;
  }

  async #tlsOptions(): Promise<TlsOptions | undefined> {
    const { tls } = this.#options;
    if (tls === undefined) return undefined;
    const options: TlsOptions = { cert: await text(tls.certFile), key: await text(tls.keyFile), minVersion: "TLSv1.2" };
    if (tls.caFile === undefined) return options;
    return { ...options, ca: await text(tls.caFile), requestCert: true, rejectUnauthorized: true };
  }
}

function identifierRejected(message: string): AuthenticateError {
  return Object.assign(new Error(message), { returnCode: IDENTIFIER_REJECTED as 2 });
}

function notAuthorized(): AuthenticateError {
  return Object.assign(new Error("user name or password is wrong"), { returnCode: NOT_AUTHORIZED as 5 });
}

async function text(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const message = `the embedded broker cannot read ${file}: ${toError(error).message}`;
    throw new PipitError("config", "broker_file", message, { cause: error });
  }
}
