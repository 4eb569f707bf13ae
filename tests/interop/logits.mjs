// Writes what llama.cpp makes of a text, in the form of logits.c.
//
// usage: node logits.mjs PACKAGES VOCABULARY IDS MODEL.gguf...
//   For each model a file MODEL.gguf.logits

import { readFileSync, writeFileSync } from 'node:fs';
import { loadLlama, withModel } from './llama.mjs';

const [packages, vocabulary, idsPath, ...modelPaths] = process.argv.slice(2);
if (!modelPaths.length) {
  console.error('usage: node logits.mjs PACKAGES VOCABULARY IDS MODEL.gguf...');
  process.exit(2);
}
const size = Number(vocabulary);
const ids = readFileSync(idsPath, 'utf8').trim().split(/\s+/).map(Number);
const input = ids.map((id) => [id, { generateNext: { logits: true } }]);

const llama = await loadLlama(packages);
for (const modelPath of modelPaths) {
  const logits = new Float32Array(ids.length * size);
  // With room to spare, or the library makes some by forgetting the beginning.
  await withModel(llama, modelPath, 2 * ids.length, async (model, sequence) => {
    const results = await sequence.controlledEvaluate(input);
    results.forEach((result, i) => {
      for (const [token, logit] of result.next.logits) logits[i * size + token] = logit;
    });
  });
  writeFileSync(`${modelPath}.logits`, logits);
}
await llama.dispose();
