// Checks that Hugging Face's JavaScript tokenizers read a folder that tq-convert wrote, and give the ids that are
// expected of the model's tokenizer.
//
// usage: node tokenize.mjs FOLDER TEXTS IDS [PACKAGES]
//   FOLDER    has tokenizer.json and tokenizer_config.json
//   TEXTS     texts, each followed by a line __ggml_vocab_test__
//   IDS       a line of ids for each text, without BOS
//   PACKAGES  a folder with node_modules; by default the current one
//
// With @huggingface/transformers installed it goes through AutoTokenizer, otherwise through @huggingface/tokenizers,
// which is what AutoTokenizer itself calls.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';

const [folder, textsPath, idsPath, packages = '.'] = process.argv.slice(2);
if (!idsPath) {
  console.error('usage: node tokenize.mjs FOLDER TEXTS IDS [PACKAGES]');
  process.exit(2);
}
const require = createRequire(join(resolve(packages), 'package.json'));

/** The package, or null when it is not installed. */
function load(name) {
  try {
    return require(name);
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

/** A function from a text to its ids, with or without the tokens that stand around a text. */
async function makeEncoder() {
  const transformers = load('@huggingface/transformers');
  if (transformers) {
    const { AutoTokenizer, env } = transformers;
    env.allowRemoteModels = false;
    env.localModelPath = dirname(resolve(folder));
    const tokenizer = await AutoTokenizer.from_pretrained(basename(resolve(folder)));
    return (text, special) => tokenizer.encode(text, { add_special_tokens: special });
  }
  const tokenizers = load('@huggingface/tokenizers');
  if (!tokenizers) throw new Error('neither @huggingface/transformers nor @huggingface/tokenizers is installed');
  const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
  const tokenizer = new tokenizers.Tokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
  return (text, special) => tokenizer.encode(text, { add_special_tokens: special }).ids;
}

const texts = readFileSync(textsPath, 'utf8').split('\n__ggml_vocab_test__\n');
texts.pop(); // behind the last separator there is nothing
const expected = readFileSync(idsPath, 'utf8').split('\n').slice(0, texts.length);
const config = JSON.parse(readFileSync(join(folder, 'tokenizer_config.json'), 'utf8'));
const generation = JSON.parse(readFileSync(join(folder, 'generation_config.json'), 'utf8'));
const encode = await makeEncoder();

let wrong = 0;
texts.forEach((text, i) => {
  const ids = encode(text, false).join(' ');
  if (ids === expected[i].trim()) return;
  wrong++;
  console.error(`text ${i} ${JSON.stringify(text)}:\n  expected ${expected[i].trim()}\n  got      ${ids}`);
});

const around = encode('a', true);
const bos = config.add_bos_token ? [generation.bos_token_id] : [];
if (JSON.stringify(around.slice(0, -encode('a', false).length)) !== JSON.stringify(bos)) {
  wrong++;
  console.error(`add_bos_token is ${config.add_bos_token}, but 'a' becomes ${around.join(' ')}`);
}

console.log(`${folder}: ${texts.length - wrong} of ${texts.length} texts tokenized as expected`);
process.exit(wrong ? 1 : 0);
