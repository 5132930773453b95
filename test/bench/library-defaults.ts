// What a user gets who leaves everything to node-llama-cpp: getLlama(), createContext(), and an answer. Run as a process of
// its own; prints tokens a second.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

/** Beside busy neighbours a token takes seconds: the answer is cut after this. */
const MOST_MS = 20_000;
const MOST_TOKENS = 64;
const PROMPT = "<|im_start|>user\nWrite a long story about a fox.<|im_end|>\n<|im_start|>assistant\n";

export async function defaultsTokensPerSecond(modelPath: string): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(import.meta.url), modelPath]);
  return Number(stdout);
}

async function measure(modelPath: string): Promise<number> {
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath });
  // The context is given, or memory estimates would choose it; threads and batches are the library's own.
  const context = await model.createContext({ contextSize: 1024 });
  const sequence = context.getSequence();
  const prompt = model.tokenize(PROMPT, true);
  let written = 0;
  let startedMs = 0;
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    void token;
    if (startedMs === 0) startedMs = performance.now();
    else written++;
    if (written >= MOST_TOKENS || (written > 0 && performance.now() - startedMs > MOST_MS)) break;
  }
  return (written * 1000) / (performance.now() - startedMs);
}

const [, script, modelPath] = process.argv;
if (script === fileURLToPath(import.meta.url) && modelPath !== undefined) {
  console.log(await measure(modelPath));
  process.exit(0);
}
