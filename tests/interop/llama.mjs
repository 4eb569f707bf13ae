// llama.cpp, the prebuilt library in node-llama-cpp.

import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The library, on the CPU; `packages` has node_modules. */
export async function loadLlama(packages) {
  const entry = createRequire(join(resolve(packages), 'package.json')).resolve('node-llama-cpp');
  const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry));
  return getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error });
}

/** Loads a model and hands it to `use` with a sequence, computed by one thread. */
export async function withModel(llama, modelPath, contextSize, use) {
  const model = await llama.loadModel({ modelPath: resolve(modelPath) });
  const context = await model.createContext({ contextSize, threads: 1 });
  await use(model, context.getSequence());
  await model.dispose();
}
