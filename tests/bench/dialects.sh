#!/bin/sh
# Measures a synthetic 2-billion-weight BitNet through the dialects, each step against cp and sync of its input in the
# same round: Hugging Face folder (packed) -> .tq -> GGUF I2_S -> .tq. Prints medians, the peak of anonymous memory, and
# whether the two .tq files are the same model. Fails, when all of that is printed, where a step is slower than half of
# cp, takes more than 64 MiB, or the models differ. On a busy machine the ratios are not to be relied on.
# Usage: tests/bench/dialects.sh [RUNS [LAYERS DIMENSION FEED_FORWARD HEADS KV_HEADS VOCABULARY]]
# BUILD names the build folder; TMPDIR where the files go (6 GB).
set -eu

runs=${1:-3}
[ $# -eq 0 ] || shift
bin=${BUILD:-build}/bin
here=$(dirname "$0")
folder=$(mktemp -d "${TMPDIR:-/tmp}/tq-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT

seconds() {
  start=$(date +%s%N)
  "$@" 2>/dev/null
  sync
  end=$(date +%s%N)
  echo "$start $end" | awk '{printf "%.3f\n", ($2 - $1) / 1e9}'
}

median() { sort -n "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# The peak of a command's anonymous memory in KiB, sampled.
anonymous() {
  "$@" 2>/dev/null &
  process=$!
  peak=0
  while now=$(awk '/^RssAnon/ {print $2}' "/proc/$process/status" 2>/dev/null) && [ -n "$now" ]; do
    [ "$now" -le "$peak" ] || peak=$now
    sleep 0.005
  done
  wait "$process"
  echo "$peak"
}

# step NAME INPUT OUTPUT [OPTION]...: one round of a step, beside a copy of its input.
step() {
  name=$1 input=$2 output=$3
  shift 3
  rm -rf "$folder/copy" "$output"
  sync
  seconds cp -r --reflink=never "$input" "$folder/copy" >>"$folder/$name.cp"
  rm -rf "$folder/copy"
  sync
  seconds "$bin/tq-convert" -q "$input" -o "$output" "$@" >>"$folder/$name.convert"
}

report() {
  name=$1 input=$2 output=$3
  shift 3
  rm -f "$output.again"
  peak=$(anonymous "$bin/tq-convert" -q "$input" -o "$output.again" "$@")
  rm -f "$output.again"
  # shellcheck disable=SC2016 # awk expands these
  echo "$(median "$folder/$name.cp") $(median "$folder/$name.convert") $peak" | awk -v name="$name" '
    {
      printf "%-14s cp %.2f s, tq-convert %.2f s, speed ratio %.2f, anonymous memory %d MiB\n", name, $1, $2, $1/$2, $3/1024
      if (2 * $1 < $2) { print name ": slower than half of cp"; failed = 1 }
      if ($3 > 65536) { print name ": more than 64 MiB of memory"; failed = 1 }
    }
    END { exit failed }' || failed=1
}

failed=0
python3 "$here/make_bitnet.py" "$folder/hf" "$@"
run=0
while [ $run -lt "$runs" ]; do
  step hf-to-tq "$folder/hf" "$folder/a.tq"
  step tq-to-i2_s "$folder/a.tq" "$folder/b.gguf" --type I2_S
  step i2_s-to-tq "$folder/b.gguf" "$folder/c.tq"
  run=$((run + 1))
done
report hf-to-tq "$folder/hf" "$folder/a.tq" --to tq
report tq-to-i2_s "$folder/a.tq" "$folder/b.gguf" --to gguf --type I2_S
report i2_s-to-tq "$folder/b.gguf" "$folder/c.tq" --to tq
"$bin/tq-inspect" "$folder/a.tq" --compare "$folder/c.tq" || failed=1
exit $failed
