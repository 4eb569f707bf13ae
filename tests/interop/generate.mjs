// Prints what llama.cpp (the prebuilt library in node-llama-cpp) makes of prompts, greedily.
//
// usage: node generate.mjs PACKAGES MODEL.gguf COUNT PROMPT...
//   PACKAGES  a folder with node_modules
// For each prompt a line: the prompt and its continuation of COUNT tokens, as a JSON string.

import { loadLlama, withModel } from './llama.mjs';

const [packages, modelPath, count, ...prompts] = process.argv.slice(2);
if (!prompts.length) {
  console.error('usage: node generate.mjs PACKAGES MODEL.gguf COUNT PROMPT...');
  process.exit(2);
}

const llama = await loadLlama(packages);
await withModel(llama, modelPath, 128, async (model, sequence) => {
  for (const prompt of prompts) {
    const tokens = [model.tokens.bos, ...model.tokenize(prompt, true).filter((token) => token !== model.tokens.bos)];
    const generated = [];
    for await (const token of sequence.evaluate(tokens, { temperature: 0 })) {
      if (generated.push(token) >= Number(count)) break;
    }
    console.log(JSON.stringify(model.detokenize([...tokens.slice(1), ...generated])));
    await sequence.clearHistory();
  }
});
await llama.dispose();
