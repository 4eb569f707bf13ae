#!/usr/bin/env bash
# The kernels of AArch64, on a machine that is none: tests/cross.sh BUILD compiles with a cross compiler and runs under
# qemu's emulation of processors with i8mm and without. Needs Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and
# qemu-user-static, and its package archive: the libraries are unpacked into a folder of their own, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
mkdir -p "$build"
root=$(cd "$build" && pwd)/root
triplet=aarch64-linux-gnu
tests=(test_kernels_floats test_kernels_integers test_ternary test_ops test_activations)
programs=(bin/tq-convert bin/tq-run samples/make-sample samples/make-ternary)

# apt-get with lists and packages of its own, for a machine on which nothing is installed.
foreign_apt() {
  apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Install-Recommends=false \
    -o Dir::State="$root/apt" -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt" -o Debug::NoLocking=1 \
    -o APT::Sandbox::User="$(id -un)" "$@"
}

install_libraries() {
  local packages package link
  mapfile -t packages < <(sed -n 's/^pkg:[^ ]*  *\([^ ]*\).*/\1/p' tools/dependencies.sh)
  rm -rf "$root"
  mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
  : >"$root/apt/status"
  foreign_apt update
  foreign_apt install -y --download-only libc6-dev "${packages[@]}"
  for package in "$root"/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -r "$root/apt"
  # What points to the root of a file system means this one.
  find "$root" -type l -lname '/*' | while read -r link; do
    ln -sfn "$root$(readlink "$link")" "$link"
  done
  touch "$root/complete"
}

[ -e "$root/complete" ] || install_libraries >"$build/libraries.log" 2>&1 || {
  cat "$build/libraries.log" >&2
  exit 1
}

export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/$triplet/pkgconfig:$root/usr/share/pkgconfig
"${MAKE:-make}" --no-print-directory BUILD="$build" CC="$triplet-gcc --sysroot=$root" AR="$triplet-ar" \
  CFLAGS='-O2 -g -Werror' "${programs[@]/#/$build/}" "${tests[@]/#/$build/tests/}"

export QEMU_LD_PREFIX=$root TQ_REQUIRE_KERNELS=neon
# emulated CPU PROGRAM...: a program of the build, on a processor that qemu knows.
emulated() { QEMU_CPU=$1 qemu-aarch64-static "$build/$2" "${@:3}"; }

run_tests() {
  local test
  printf '%s:\n' "$1"
  for test in "${tests[@]}"; do emulated "$1" "tests/$test" || return; done
}

run_tests cortex-a76 >"$build/cortex-a76.log" 2>&1 &
status=0
run_tests max || status=1
wait $! || status=1
cat "$build/cortex-a76.log"
[ "$status" -eq 0 ] || exit 1

# A text that has the same bits with every kernel set, whatever the processor.
demo=$build/demo
rm -rf "$demo"
mkdir -p "$demo"
emulated max samples/make-sample "$demo/sample.gguf"
emulated max bin/tq-convert "$demo/sample.gguf" -o "$demo/sample.tq"
emulated max samples/make-ternary "$demo/sample.tq" "$demo/ternary.tq"
# say CPU KERNELS ACTIVATIONS
say() { TQ_CPU=$2 emulated "$1" bin/tq-run "$demo/ternary.tq" -p 'Once upon a time' -n 16 --temp 0 --activations "$3"; }
for activations in float int8-token int8-block; do
  say cortex-a72 scalar "$activations" >"$demo/expected"
  for cpu in max cortex-a76; do
    say "$cpu" neon "$activations" >"$demo/text"
    cmp "$demo/expected" "$demo/text"
  done
done
if say cortex-a72 neon float >"$demo/text" 2>"$demo/refusal"; then
  echo 'cross: a processor without dot products takes the kernels that use them' >&2
  exit 1
fi
grep -q 'cannot run the kernels "neon"' "$demo/refusal"
echo 'The same texts with the NEON kernels as with the scalar ones.'
