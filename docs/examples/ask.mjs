// Asks an agent with pipit/client: a streamed answer, then a label.
// Usage: node ask.mjs mqtt://HOST:PORT DEVICE
import { createPipitClient } from "pipit/client";

const [url, device] = process.argv.slice(2);
const client = createPipitClient({ url, device });

const answer = await client.ask("What is the capital of France?", { stream: (piece) => process.stdout.write(piece) });
console.log(`\n${answer.usage.completion_tokens} tokens in ${answer.timing_ms.total} ms; ${answer.plan.reason}`);

const { label, confidence } = await client.classify("It is too dark here.", { labels: ["light", "heating"] });
console.log(label, confidence);
await client.close();
