#!/bin/sh
# Runs the benchmarks and writes a report of them in Markdown. With LLAMA_BENCH or IK_LLAMA_BENCH set (peers.sh says
# how), other programs are measured too.
# Usage: tests/bench/benchmarks.sh [FILE]    (docs/benchmarks.md; BUILD names the build folder, TMPDIR where files go)
set -eu

target=${1:-docs/benchmarks.md}
here=$(dirname "$0")
bin=${BUILD:-build}/bin
report=$(mktemp "${TMPDIR:-/tmp}/tq-report-XXXXXX")
trap 'rm -f "$report" "$report.part"' EXIT
processors=$(getconf _NPROCESSORS_ONLN)
threads=1
[ "$processors" -eq 1 ] || threads=1,$processors
failed=0

# The heading of a table, and the command that makes it.
section() {
  echo "benchmarks: $1" >&2
  printf '\n## %s\n\n' "$1" >>"$report"
}

# run [NAME=VALUE]... COMMAND [ARGUMENT]...: appends the command, then what it prints.
run() {
  printf '    %s\n\n' "$*" >>"$report"
  env "$@" >>"$report"
}

# The same with the output as it is, but for the names of temporary folders.
run_plain() {
  printf '```\n$ %s\n' "$*" >>"$report"
  env "$@" >"$report.part" || failed=1
  sed 's|[^ ]*/tq-bench-[A-Za-z0-9]*/||g' "$report.part" >>"$report"
  printf '```\n' >>"$report"
}

PATH=$(cd "$bin" && pwd):$PATH
export PATH

cat >"$report" <<'END'
# Benchmarks

`make bench` wrote this: the figures of one machine, which is named above each table. Only figures of one table were
measured alternating with each other; between tables, and more so between machines, bandwidth differs. The models are
synthetic, so that the commands give the same tables elsewhere; `man tq-bench` says what each column is.
END

section 'Whole models'
cat >>"$report" <<'END'
The shape of BitNet b1.58 2B4T with a Q8_0 embedding, which is the head too. pp128 is prefill of 128 tokens, tg32 the
generation of 32.

END
run tq-bench --synthetic 2b4t --code 2bit,base3 -p 128 -n 32 -t "$threads" --markdown

if TQ_CPU=avx2 tq-bench --synthetic 125m -p 1 -t 1 -r 1 >/dev/null 2>&1; then
  section 'With AVX2 only'
  run TQ_CPU=avx2 tq-bench --synthetic 2b4t --code 2bit,base3 -p 128 -n 32 -t "$processors" -r 3 --markdown
fi

section 'Scales'
cat >>"$report" <<'END'
One scale for a tensor, a row, or a group of so many weights, on a smaller model.

END
run tq-bench --synthetic 700m --code 2bit,base3 --scale tensor,row,g256,g128,g32 -p 128 -n 32 -t "$processors" -r 3 --markdown

section 'Products and operations alone'
run tq-bench --synthetic 2b4t --code 2bit,base3 --kernels -t "$processors" -r 3 --markdown

if [ -n "${LLAMA_BENCH:-}${IK_LLAMA_BENCH:-}" ]; then
  section 'Beside other programs'
  cat >>"$report" <<'END'
Medians of 5 rounds, in each of which every program ran once (`tests/bench/peers.sh`). "To ours" is the speed as a
multiple of the first line's. The bytes that the others read for a token are those of all their tensors.

END
  "$here/peers.sh" -t "$threads" >>"$report"
fi

section 'Conversion'
cat >>"$report" <<'END'
A safetensors file of random BF16 matrices, and a packed 2-billion-weight BitNet through the dialects, beside copies of
their inputs.

END
run_plain "$here/convert.sh" 2 3
echo >>"$report"
run_plain "$here/dialects.sh" 3

cp "$report" "$target"
exit $failed
