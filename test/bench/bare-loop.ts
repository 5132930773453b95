// The least that can generate: one evaluate loop in a process set up like the engine's child. Prints the milliseconds that
// each run of `tokens` tokens took, as JSON. Arguments: model path, threads, tokens, runs. `PIPIT_BENCH_PIN` names the core
// that the JavaScript thread, and it alone, is pinned to.
import { execFileSync } from "node:child_process";
import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";

const [modelPath = "", threads = "2", tokens = "128", runs = "1"] = process.argv.slice(2);
const maxThreads = Number(threads);
const llama = await getLlama({ gpu: false, build: "never", maxThreads, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath, gpuLayers: 0, ignoreMemorySafetyChecks: true });
const context = await model.createContext({
  contextSize: 1024,
  batchSize: 64,
  sequences: 1,
  threads: maxThreads,
  ignoreMemorySafetyChecks: true,
});
const sequence = context.getSequence();
const prompt = model.tokenize(
  "<|im_start|>user\nWrite a long story about a fox.<|im_end|>\n<|im_start|>assistant\n",
  true,
);
await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, -1));
// The pool's thread exists by now and keeps its affinity.
const pin = process.env["PIPIT_BENCH_PIN"];
if (pin !== undefined) execFileSync("taskset", ["-cp", pin, String(process.pid)]);

const times: number[] = [];
for (let run = 0; run < Number(runs); run += 1) {
  await sequence.eraseContextTokenRanges([{ start: prompt.length - 1, end: sequence.nextTokenIndex }]);
  const startedMs = performance.now();
  let written = 0;
  for await (const token of sequence.evaluate([prompt.at(-1) as Token], { temperature: 0, yieldEogToken: true })) {
    void token;
    written += 1;
    if (written >= Number(tokens)) break;
  }
  times.push((performance.now() - startedMs) / written);
}
console.log(JSON.stringify(times));
