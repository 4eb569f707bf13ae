#!/bin/sh
# Measures tq-convert on a synthetic safetensors file against cp and sync, alternating, and prints the medians.
# Usage: tests/bench/convert.sh [GIBIBYTES] [RUNS]    (BUILD names the build folder; TMPDIR where the files go)
set -eu

gibibytes=${1:-4}
runs=${2:-5}
convert=${BUILD:-build}/bin/tq-convert
folder=$(mktemp -d "${TMPDIR:-/tmp}/tq-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT

# A header of BF16 matrices of 64 MiB each, then random bytes.
make_input() {
  tensors=$((gibibytes * 16))
  header='{'
  i=0
  while [ $i -lt $tensors ]; do
    [ $i -eq 0 ] || header="$header,"
    begin=$((i * 67108864))
    header="$header\"model.layers.$i.mlp.up_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[8192,4096],"
    header="$header\"data_offsets\":[$begin,$((begin + 67108864))]}"
    i=$((i + 1))
  done
  header="$header}"
  length=${#header}
  {
    # The length as eight little-endian bytes.
    i=0
    while [ $i -lt 8 ]; do
      # shellcheck disable=SC2059 # the format is the byte
      printf "\\$(printf %03o $((length & 255)))"
      length=$((length >> 8))
      i=$((i + 1))
    done
    printf %s "$header"
    head -c $((tensors * 67108864)) /dev/urandom
  } >"$1"
}

seconds() {
  start=$(date +%s%N)
  "$@" 2>/dev/null
  sync
  end=$(date +%s%N)
  echo "$start $end" | awk '{printf "%.3f\n", ($2 - $1) / 1e9}'
}

median() { sort -n "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

make_input "$folder/in.safetensors"
sync
run=0
while [ $run -lt "$runs" ]; do
  rm -f "$folder/out.tq" "$folder/copy"
  sync
  seconds cp --reflink=never "$folder/in.safetensors" "$folder/copy" >>"$folder/cp"
  rm -f "$folder/copy"
  sync
  seconds "$convert" "$folder/in.safetensors" -o "$folder/out.tq" >>"$folder/convert"
  run=$((run + 1))
done
size=$(stat -c %s "$folder/in.safetensors")
rm -f "$folder/out.tq"
peak=$(/usr/bin/time -f %M "$convert" -q "$folder/in.safetensors" -o "$folder/out.tq" 2>&1 | tail -n 1)
echo "cp and sync, s:         $(tr '\n' ' ' <"$folder/cp")"
echo "tq-convert and sync, s: $(tr '\n' ' ' <"$folder/convert")"
echo "$(median "$folder/cp") $(median "$folder/convert") $size" |
  awk '{printf "medians: cp %.2f s (%.2f GB/s), tq-convert %.2f s (%.2f GB/s), speed ratio %.2f\n", $1, $3/$1/1e9, $2, $3/$2/1e9, $1/$2}'
echo "peak resident memory of tq-convert, pages of files included: $((peak / 1024)) MiB"
