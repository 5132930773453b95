// What else would classify with the same generative model here: llama-server writing the label, the library's own
// decision context. Each gets the same examples and runs in the same minute.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { labelCandidates, labelPage, type LabelPrompt } from "../../src/core/label-prompt.ts";
import { setTimeout as sleep } from "node:timers/promises";

export interface PeerAnswers {
  /** Undefined where the peer wrote something that is no label. */
  labels: (string | undefined)[];
  latenciesMs: number[];
}

const START_MS = 60_000;

/** How llama-server is shown the examples: as earlier turns of a chat, or on the page that our decoder is scored on. */
export type Showing = "chat" | "page";

/** llama-server with a grammar that allows nothing but labels. */
export async function byLlamaServer(
  program: string,
  model: string,
  showing: Showing,
  prompt: LabelPrompt,
  texts: readonly string[],
): Promise<PeerAnswers> {
  const port = await freePort();
  const args = ["-m", model, "--port", String(port), "-t", "2", "-c", "4096", "-np", "1", "--no-webui"];
  const server = spawn(program, args, { stdio: "ignore" });
  const ended = once(server, "exit");
  const names = prompt.labels.map(({ name }) => name);
  try {
    const url = `http://127.0.0.1:${port}`;
    await untilHealthy(url);
    const write = showing === "chat" ? asChat(url, prompt) : asPage(url, prompt);
    const ask = async (text: string) => {
      const written = (await write(text)).trim();
      return names.find((name) => name === written);
    };
    await ask("warming up");
    return await timed(texts, ask);
  } finally {
    server.kill("SIGTERM");
    await ended;
  }
}

const GREEDY = { temperature: 0, max_tokens: 8, cache_prompt: true };

function asChat(url: string, { labels, examples }: LabelPrompt): (text: string) => Promise<string> {
  const names = labels.map(({ name }) => name);
  const system = `Classify each message. Answer with one label and nothing else. Labels: ${names.join(", ")}.`;
  const shown = examples.flatMap(({ text, label }) => [
    { role: "user", content: text },
    { role: "assistant", content: label },
  ]);
  const grammar = `root ::= ${names.map((name) => JSON.stringify(name)).join(" | ")}`;
  return async (text) => {
    const messages = [{ role: "system", content: system }, ...shown, { role: "user", content: text }];
    const body = JSON.stringify({ messages, grammar, ...GREEDY });
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body });
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
    return choices[0]?.message.content ?? "";
  };
}

function asPage(url: string, prompt: LabelPrompt): (text: string) => Promise<string> {
  const grammar = `root ::= ${labelCandidates(prompt.labels)
    .map((candidate) => JSON.stringify(candidate))
    .join(" | ")}`;
  return async (text) => {
    const body = JSON.stringify({ prompt: labelPage(prompt, text), grammar, ...GREEDY });
    const response = await fetch(`${url}/v1/completions`, { method: "POST", body });
    const { choices } = (await response.json()) as { choices: { text: string }[] };
    return choices[0]?.text ?? "";
  };
}

export async function byDecisionContext(
  model: string,
  names: readonly string[],
  texts: readonly string[],
): Promise<PeerAnswers> {
  const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.error, maxThreads: 2 });
  const loaded = await llama.loadModel({ modelPath: model, gpuLayers: 0 });
  const context = await loaded.createDecisionContext({ contextSize: 1024, parallelQuestions: 1, threads: 2 });
  try {
    const criteria = Object.fromEntries(names.map((name) => [name, null]));
    const questions = { label: { type: "choice", instruction: "What is the message about?", criteria } } as const;
    const ask = async (text: string) => {
      const { label } = await context.decide(text, questions);
      const found = label as unknown as { choice?: string } | string;
      return typeof found === "string" ? found : found.choice;
    };
    return await timed(texts, ask);
  } finally {
    await context.dispose();
    await loaded.dispose();
    await llama.dispose();
  }
}

async function timed(
  texts: readonly string[],
  ask: (text: string) => Promise<string | undefined>,
): Promise<PeerAnswers> {
  const answers: PeerAnswers = { labels: [], latenciesMs: [] };
  for (const text of texts) {
    const startedMs = performance.now();
    answers.labels.push(await ask(text));
    answers.latenciesMs.push(performance.now() - startedMs);
  }
  return answers;
}

async function untilHealthy(url: string): Promise<void> {
  const endMs = performance.now() + START_MS;
  while (performance.now() < endMs) {
    const healthy = await fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (healthy) return;
    await sleep(100);
  }
  throw new Error(`llama-server at ${url} did not come up in ${START_MS} ms`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
