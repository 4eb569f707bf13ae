#!/bin/sh
# Puts tq before readers and writers of every dialect that were made apart from it, from the same description: this
# folder's Python. Needs Python 3 (its standard library) and the shared data.
# Usage: tests/peer/run.sh BUILD_FOLDER
set -eu

build=$1
here=$(dirname "$0")
shared=${TQ_SHARED:-../shared}
work=$build/peer
models=$work/models
convert=$build/bin/tq-convert

passed=0 failed=0
# check NAME COMMAND...: counts whether the command succeeds; what it says is shown where it does not.
check() {
  name=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok: $name"
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
    cat "$work/said"
  fi
}

rm -rf "$work"
mkdir -p "$work"
TQ_SHARED=$shared
export TQ_SHARED
check "the Python agrees with itself and with the peers' files" python3 "$here/selftest.py"
python3 "$here/make_models.py" "$models"

# The values expected of a model: those that its maker wrote, or the source of a golden file.
expected_of() {
  case $1 in
  golden-*) echo "$shared/golden/${1#golden-}.f16.gguf" ;;
  *) echo "$models/expected/${1%%-*}" ;;
  esac
}

# ---- what the Python wrote ----

holds() { python3 "$here/check_weights.py" "$@"; }

imported() {
  rm -rf "$work/plain"
  "$convert" "$models/$1" -o "$work/$1.tq" && "$convert" "$work/$1.tq" -o "$work/plain.gguf" --type F32 &&
    "$convert" "$work/$1.tq" -o "$work/plain" --type F32 &&
    holds "$(expected_of "$1")" "$work/plain.gguf" "$work/plain"
}

comes_back() {
  target=$work/back.gguf
  [ ! -d "$models/$1" ] || target=$work/back
  rm -rf "$target"
  "$convert" "$work/$1.tq" -o "$target" && diff -r "$models/$1" "$target"
}

tensor_models='tensor-I2_S.gguf tensor-bitlinear tensor-autobitlinear tensor-F32'
g128_models='g128-Q2_0.gguf g128-PQ2_0.gguf g128-PTQ1_0.gguf'
for model in $tensor_models $g128_models g64-Q2_0.gguf; do
  check "$model is read as it was meant" imported "$model"
  check "$model comes back byte for byte" comes_back "$model"
done

# ---- one model in many forms ----

digest_of() { "$build/bin/tq-inspect" --hash "$1" 2>/dev/null | cut -c 1-32; }
text_of() { "$build/bin/tq-run" "$work/$1.tq" -p "The old man" -n 32 --temp "$2" --seed 7 2>/dev/null; }

same_in_all() {
  first=$1
  for model; do
    [ -n "$(digest_of "$models/$model")" ] || return 1
    [ "$(digest_of "$models/$model")" = "$(digest_of "$models/$first")" ] || return 1
    [ "$(digest_of "$work/$model.tq")" = "$(digest_of "$models/$first")" ] || return 1
    for temperature in 0 1; do
      [ -n "$(text_of "$model" $temperature)" ] || return 1
      [ "$(text_of "$model" $temperature)" = "$(text_of "$first" $temperature)" ] || return 1
    done
    "$build/bin/tq-inspect" "$work/$model.tq" --compare "$models/$first" || return 1
  done
}

# shellcheck disable=SC2086 # lists of words
check "I2_S, bitlinear, autobitlinear and F32 are one model with one text" same_in_all $tensor_models
# shellcheck disable=SC2086
check "legacy Q2_0, PQ2_0 and PTQ1_0 are one model with one text" same_in_all $g128_models

# ---- what tq writes ----

# The two layouts of I2_S that only a command line tells apart.
holds_layout() {
  layout=$1
  shift
  python3 - "$here" "$layout" "$@" <<'END'
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import check_weights, weights
weights.TERNARY_IDS[36] = sys.argv[2]
sys.exit(check_weights.main(sys.argv[3:]))
END
}

exported() {
  target=$work/export.gguf
  case $2 in
  *linear) target=$work/export ;;
  esac
  rm -rf "$target"
  "$convert" "$work/$1.tq" -o "$target" --type "$2" || return 1
  case $2 in
  I2_S_ARM) holds_layout I2_S_arm "$(expected_of "$1")" "$target" ;;
  I2_S_ROWS) holds_layout I2_S_rows "$(expected_of "$1")" "$target" ;;
  *) holds "$(expected_of "$1")" "$target" ;;
  esac
}

check_exports() {
  for type in $2; do check "$1 is written as $type" exported "$1" "$type"; done
}

every_gguf='IQ1_BN TQ1_0 PTQ1_0 I2_S I2_S_ARM I2_S_ROWS IQ2_BN IQ2_BN_R4 TQ2_0 PQ2_0 Q2_0_G128 Q2_0'
for source in tensor-1 bitnet-7; do
  "$convert" -q "$shared/golden/$source.f16.gguf" -o "$work/golden-$source.tq"
  check_exports golden-$source "$every_gguf F16 F32"
done
check_exports golden-tensor-1 'bitlinear autobitlinear'
"$convert" -q "$shared/golden/row-2.f16.gguf" -o "$work/golden-row-2.tq"
check_exports golden-row-2 'IQ1_BN TQ1_0 PTQ1_0 IQ2_BN IQ2_BN_R4 TQ2_0 PQ2_0 Q2_0_G128 Q2_0 F16 F32'
# Inverted and F32 scales: those that no F16 holds lie beside the weights.
check_exports tensor-bitlinear 'I2_S IQ2_BN IQ2_BN_R4 TQ1_0 TQ2_0 Q2_0 bitlinear autobitlinear F32'
check_exports g128-PQ2_0.gguf 'PTQ1_0 Q2_0_G128 PQ2_0 Q2_0 F16 F32'
check_exports g64-Q2_0.gguf 'Q2_0 F16 F32'

echo "peer: $passed passed, $failed failed"
[ $failed -eq 0 ]
