#!/bin/sh
# What `make demo` shows: samples/demo.sh BUILD. Makes a small model and takes it through the tools, each command printed
# as one would type it.
set -eu
build=$1
folder=$build/demo
PATH=$(cd "$build" && pwd)/bin:$(cd "$build" && pwd)/samples:$PATH
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

say() { printf '\n%s\n' "$*"; }

show() {
  printf '$'
  for word in "$@"; do
    case $word in
    *' '*) printf ' "%s"' "$word" ;;
    *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$@"
}

say "A small model is made here, with random weights, so nothing has to be downloaded. It was never trained:" \
  "the words it says mean nothing."
show make-sample sample.gguf

say "From GGUF into tq's own container:"
show tq-convert sample.gguf -o sample.tq
show tq-inspect sample.tq

say "It continues a text. (Once more: untrained, so the words mean nothing.)"
show tq-run sample.tq -p "Once upon a time" -n 16 --seed 1 --echo

say "And back, byte for byte:"
show tq-convert sample.tq -o back.gguf
show cmp sample.gguf back.gguf
echo "(identical)"

say "The same model with ternary weights, packed five to a byte:"
show make-ternary sample.tq base3.tq
show tq-convert base3.tq -o 2bit.tq --code 2bit
show tq-inspect 2bit.tq
show tq-inspect base3.tq --hash
show tq-inspect 2bit.tq --hash

say "The two codes hold the same weights, so they say the same (which still means nothing):"
show tq-run base3.tq -p "Once upon a time" -n 16 --temp 0 --echo
show tq-run 2bit.tq -p "Once upon a time" -n 16 --temp 0 --echo
for code in base3 2bit; do tq-run $code.tq -p "Once upon a time" -n 16 --temp 0 >$code.txt 2>$code.log; done
show cmp base3.txt 2bit.txt

say "Unpacked into plain floats, as such models are often published, it is found to be ternary again, and the same:"
show tq-convert base3.tq -o floats.gguf
show tq-inspect floats.gguf --compare base3.tq

say "Done. All of it is in $folder. The same commands take a real model: see README.md."
