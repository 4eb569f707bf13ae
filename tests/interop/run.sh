#!/bin/sh
# Puts files written here before other projects' own programs: llama.cpp (the prebuilt library of node-llama-cpp) and
# the tokenizers of transformers.js. Needs node, npm and the shared data.
# Usage: tests/interop/run.sh BUILD_FOLDER
set -eu

build=$1
here=$(dirname "$0")
shared=${TQ_SHARED:-../shared}
packages=$build/interop/packages
work=$build/interop/work
convert=$build/bin/tq-convert
count=64

if [ ! -d "$shared" ]; then
  echo "interop: the shared data is not at $shared (set TQ_SHARED)" >&2
  exit 1
fi
mkdir -p "$packages"
cp "$here/package.json" "$packages/package.json"
npm install --prefix "$packages" --ignore-scripts --omit=optional --no-audit --no-fund --no-package-lock --silent
rm -rf "$work"
mkdir -p "$work"

passed=0 failed=0
check() {
  if [ "$2" = 0 ]; then
    passed=$((passed + 1))
    echo "ok: $1"
  else
    failed=$((failed + 1))
    echo "FAILED: $1"
  fi
}

# The continuation as tq-run has it, in generate.mjs's form.
ours() {
  for prompt in "Once upon a time" "One day, Tom" "The big red ball"; do
    "$build/bin/tq-run" "$1" -p "$prompt" -n $count --temp 0 --echo 2>/dev/null |
      node -e 'console.log(JSON.stringify(require("fs").readFileSync(0, "utf8")))'
  done
}

theirs() { node "$here/generate.mjs" "$packages" "$1" $count "Once upon a time" "One day, Tom" "The big red ball"; }

same_text() {
  if ours "$work/stories.tq" >"$work/ours" && theirs "$2" >"$work/theirs" && diff "$work/ours" "$work/theirs"; then
    check "$1" 0
  else
    check "$1" 1
  fi
}

# The GGUF that came in, and the one that was translated from a Hugging Face folder.
"$convert" -q "$shared/models/stories260K.gguf" -o "$work/stories.tq"
"$convert" -q "$work/stories.tq" -o "$work/stories"
"$convert" -q "$work/stories" -o "$work/from-folder.gguf"
same_text "llama.cpp on the original GGUF gives tq-run's text" "$shared/models/stories260K.gguf"
same_text "llama.cpp on the GGUF made from a Hugging Face folder gives the same text" "$work/from-folder.gguf"

tokenizes() {
  "$convert" -q "$shared/tokenizers/$1" -o "$work/$2"
  if node "$here/tokenize.mjs" "$work/$2" "$shared/tokenizers/$3.inp" "$shared/tokenizers/$3.out" "$packages"; then
    check "transformers.js tokenizes $2 as llama.cpp does" 0
  else
    check "transformers.js tokenizes $2 as llama.cpp does" 1
  fi
}

tokenizes ggml-vocab-gpt-2.gguf gpt-2 ggml-vocab-gpt-2.gguf
tokenizes ggml-vocab-llama-spm.gguf llama-spm ggml-vocab-llama-spm.gguf
tokenizes llama3.tiktoken llama-bpe ggml-vocab-llama-bpe.gguf

echo "interop: $passed passed, $failed failed"
[ $failed -eq 0 ]
