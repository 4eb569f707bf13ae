#!/bin/sh
# Puts files written here before other projects' own programs: llama.cpp (the prebuilt library of node-llama-cpp) and
# the tokenizers of transformers.js. Needs node, npm, Python 3 (its standard library) and the shared data.
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
    "$build/bin/tq-run" "$1" -p "$prompt" -n $count --temp 0 --echo --activations float 2>/dev/null |
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

# Exports in F16: llama.cpp computes with nearly the same numbers, so its text is the same, for a while: these models
# are random, and sooner or later two tokens are as likely. Each goes through a folder, so that nothing is left of the
# file that came in.
count=32
export_f16() {
  "$convert" -q "$shared/golden/$1.f16.gguf" -o "$work/$1"
  "$convert" -q "$work/$1" --type F16 -o "$work/$1.F16.gguf"
  "$convert" -q "$work/$1.F16.gguf" -o "$work/stories.tq"
  same_text "llama.cpp on $1 as F16 gives tq-run's text" "$work/$1.F16.gguf"
}
export_f16 tensor-1
export_f16 row-2
export_f16 g64-3
# Of bitnet-7 two tokens are nearly as likely after some forty.
count=24
export_f16 bitnet-7

# Exports in types that meet 8-bit activations: what is predicted at each of 256 tokens of a real text.
# Measured: F16 and F32 agree in the most likely token at 99.6 % of the places at least, with a divergence of 1.4e-7
# at most; TQ1_0 and TQ2_0, whose activations llama.cpp rounds in blocks of 256, with floats at 96 % and 2.3e-4; Q2_0
# with blocks of 32, which are its own, at 97.6 % and 5.2e-5. These models are random, with nothing much more likely
# than the rest, so that a small change moves the most likely token. With the scales beside its weights left out, a
# model agrees at 1 %, with a divergence of 0.6.
"$convert" -q "$shared/golden/tensor-1.f16.gguf" -o "$work/model.tq"
head -c 3000 "$shared/golden/text30k.txt" >"$work/text"
"$build/bin/tq-run" "$work/model.tq" --tokenize -f "$work/text" | tr -s ' ' '\n' | head -n 256 >"$work/ids"
mkdir "$work/exports"

# Files MODEL.TYPE.gguf of MODEL.tq.
export_types() {
  for type in $2; do "$convert" "$work/$1.tq" --type "$type" -o "$work/exports/$1.$type.gguf" 2>>"$work/notes"; done
}

for source in tensor-1 bitnet-7 row-2 g64-3; do
  "$convert" -q "$shared/golden/$source.f16.gguf" -o "$work/$source.tq"
done
export_types tensor-1 "F16 TQ1_0 TQ2_0 Q2_0"
export_types bitnet-7 "F16 TQ1_0 TQ2_0 Q2_0"
export_types row-2 "F16 TQ1_0 TQ2_0 Q2_0"
export_types g64-3 "F16 Q2_0"

# A scale that no F16 holds goes into a tensor beside the weight.
for source in tensor-1 bitnet-7; do
  "$convert" -q "$work/$source.tq" --type F32 -o "$work/plain.gguf"
  python3 "$here/make_scaled.py" "$work/plain.gguf" "$work/scaled.gguf"
  "$convert" -q "$work/scaled.gguf" -o "$work/$source+scale.tq"
  : >"$work/notes"
  export_types $source+scale "TQ1_0 TQ2_0 Q2_0"
  check "three exports of $source have scales beside their weights" \
    "$([ "$(grep -c '^warning: 7 tensors have a scale' "$work/notes")" = 3 ]; echo $?)"
  export_types $source+scale F32
done

node "$here/logits.mjs" "$packages" 512 "$work/ids" "$work/exports"/*.gguf
for export in "$work/exports"/*.gguf; do
  case $export in
  *.Q2_0.gguf) kind=int8-block bounds='0.95 2e-4' ;;
  *.TQ?_0.gguf) kind=float bounds='0.92 6e-4' ;;
  *) kind=float bounds='0.98 1e-5' ;;
  esac
  "$convert" -q "$export" -o "$work/export.tq"
  "$build/tests/interop/logits" "$work/export.tq" $kind <"$work/ids" >"$work/ours"
  status=0
  # shellcheck disable=SC2086 # two words
  node "$here/compare.mjs" "$work/ours" "$export.logits" 512 $bounds || status=1
  check "llama.cpp predicts with $(basename "$export") what tq does with $kind" $status
done

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
