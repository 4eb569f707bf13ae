#!/bin/sh
# Measures tq-bench beside the llama-bench programs of llama.cpp and ik_llama.cpp, alternating: in every round each
# program runs once on each of its models, and each run of tq-bench measures the memory's bandwidth. Prints a Markdown
# table of the medians.
# Usage: tests/bench/peers.sh [-r ROUNDS] [-t THREADS,...] [-p N] [-n N] [MODEL.tq...]
# Without a model: synthetic ones of the shape 2b4t. BUILD names the build folder; TMPDIR where files go (2 GB).
# LLAMA_BENCH and IK_LLAMA_BENCH are each a program and its models, separated by blanks: "PATH/llama-bench A.gguf B.gguf".
set -eu

rounds=5 threads=1,2 prefill=128 generate=32
while getopts r:t:p:n: option; do
  case $option in
  r) rounds=$OPTARG ;;
  t) threads=$OPTARG ;;
  p) prefill=$OPTARG ;;
  n) generate=$OPTARG ;;
  *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
here=$(dirname "$0")
bench=${BUILD:-build}/bin/tq-bench
folder=$(mktemp -d "${TMPDIR:-/tmp}/tq-peers-XXXXXX")
trap 'rm -rf "$folder"' EXIT

if [ $# -eq 0 ]; then
  for code in 2bit base3; do
    "$bench" --synthetic 2b4t --code $code -p 1 -r 1 --save "$folder/2b4t-$code.tq" >"$folder/saved"
    set -- "$@" "$folder/2b4t-$code.tq"
  done
fi

# peer NAME PROGRAM MODEL...: one run on each model, results of all runs end to end in $folder/NAME.
peer() {
  name=$1 program=$2
  shift 2
  for model; do
    "$program" -m "$model" -p "$prefill" -n "$generate" -t "$count" -r 1 -o json 2>"$folder/errors" \
      >>"$folder/$name" || {
      echo "$program failed on $model:" >&2
      cat "$folder/errors" >&2
      exit 1
    }
  done
}

round=0
while [ "$round" -lt "$rounds" ]; do
  for count in $(echo "$threads" | tr , ' '); do
    for model; do
      "$bench" "$model" -p "$prefill" -n "$generate" -t "$count" -r 1 --json >>"$folder/tq"
    done
    # shellcheck disable=SC2086 # a program and its models
    [ -z "${IK_LLAMA_BENCH:-}" ] || peer ik_llama.cpp $IK_LLAMA_BENCH
    # shellcheck disable=SC2086
    [ -z "${LLAMA_BENCH:-}" ] || peer llama.cpp $LLAMA_BENCH
  done
  round=$((round + 1))
done
python3 "$here/peers.py" "$folder"
