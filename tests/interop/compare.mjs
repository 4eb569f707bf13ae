// Compares two models' predictions of a text, both given as logits [tokens][vocabulary] of little-endian floats.
//
// usage: node compare.mjs OURS THEIRS VOCABULARY LEAST_AGREEMENT MOST_KL
//   Exits with 1 when the most likely token is the same at less than LEAST_AGREEMENT of the places, or the mean of
//   KL(theirs || ours) is above MOST_KL; prints both.

import { readFileSync } from 'node:fs';

const [oursPath, theirsPath, size, leastAgreement, mostDivergence] = process.argv.slice(2);
if (!mostDivergence) {
  console.error('usage: node compare.mjs OURS THEIRS VOCABULARY LEAST_AGREEMENT MOST_KL');
  process.exit(2);
}
const vocabulary = Number(size);

function load(path) {
  const bytes = readFileSync(path);
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  return Array.from({ length: all.length / vocabulary }, (_, i) => all.subarray(i * vocabulary, (i + 1) * vocabulary));
}

function logProbabilities(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) + largest;
  return Array.from(logits, (logit) => logit - total);
}

const top = (logits) => logits.reduce((best, logit, i) => (logit > logits[best] ? i : best), 0);

const ours = load(oursPath), theirs = load(theirsPath);
if (!ours.length || ours.length !== theirs.length) throw new Error(`${ours.length} places, and ${theirs.length}`);
let agreeing = 0, divergence = 0;
ours.forEach((logits, i) => {
  const p = logProbabilities(theirs[i]), q = logProbabilities(logits);
  agreeing += top(logits) === top(theirs[i]);
  divergence += p.reduce((sum, log, token) => sum + Math.exp(log) * (log - q[token]), 0);
});
const agreement = agreeing / ours.length, mean = divergence / ours.length;
console.log(`top-1 ${(100 * agreement).toFixed(2)} % (at least ${100 * leastAgreement} %), KL ${mean.toExponential(2)} (at most ${mostDivergence})`);
process.exit(agreement >= Number(leastAgreement) && mean <= Number(mostDivergence) ? 0 : 1);
