#!/bin/sh
# Installs what tq is built and tested with, as far as it is missing. Says nothing when all is there.
set -eu

# macOS keeps its own old libarchive; Homebrew's is found only when asked for.
if command -v brew >/dev/null 2>&1; then
  PKG_CONFIG_PATH="$(brew --prefix)/opt/libarchive/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
  export PKG_CONFIG_PATH
fi

# One row per dependency: how it is told that it is there, and what it is called by apt-get, dnf, apk and brew ("+" joins
# several packages, "-" stands for none). "tool:" is a command, "pkg:" a pkg-config module, "c:" what compiles C.
table='
c:C-compiler      gcc+libc6-dev    gcc              gcc+musl-dev   gcc
tool:make         make             make             make           make
tool:pkg-config   pkg-config       pkgconf-pkg-config pkgconf      pkgconf
pkg:zlib          zlib1g-dev       zlib-devel       zlib-dev       zlib
pkg:libarchive    libarchive-dev   libarchive-devel libarchive-dev libarchive
pkg:libxxhash     libxxhash-dev    xxhash-devel     xxhash-dev     xxhash
pkg:jansson       libjansson-dev   jansson-devel    jansson-dev    jansson
pkg:libpcre2-8    libpcre2-dev     pcre2-devel      pcre2-dev      pcre2
pkg:libutf8proc   libutf8proc-dev  utf8proc-devel   utf8proc-dev   utf8proc
pkg:nettle        nettle-dev       nettle-devel     nettle-dev     nettle
pkg:check         check            check-devel      check-dev      check
'

fail() {
  printf 'dependencies: %s\n' "$*" >&2
  exit 1
}

compiles() {
  folder=$(mktemp -d)
  printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' >"$folder/try.c"
  # shellcheck disable=SC2086 # CC may come with options
  if ${CC:-cc} -o "$folder/try" "$folder/try.c" >/dev/null 2>&1; then result=0; else result=1; fi
  rm -rf "$folder"
  return $result
}

is_there() {
  case $1 in
  c:*) compiles ;;
  tool:*) command -v "${1#tool:}" >/dev/null 2>&1 ;;
  pkg:*) "${PKG_CONFIG:-pkg-config}" --exists "${1#pkg:}" 2>/dev/null ;;
  esac
}

# The package manager: the column of the table that is its own.
column=0
for manager in apt-get dnf apk brew; do
  column=$((column + 1))
  command -v "$manager" >/dev/null 2>&1 && break
  manager=
done

# Prints, from the rows that are missing, the words of one column.
missing() {
  printf '%s' "$table" | while read -r test apt dnf apk brew; do
    if [ -z "$test" ] || is_there "$test"; then continue; fi
    case $1 in
    0) printf '%s ' "${test#*:}" ;;
    1) printf '%s ' "$apt" ;;
    2) printf '%s ' "$dnf" ;;
    3) printf '%s ' "$apk" ;;
    4) printf '%s ' "$brew" ;;
    esac
  done | tr '+' ' '
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    fail "not root and no sudo: run '$*' as root, then try again"
  fi
}

install_packages() {
  case $manager in
  apt-get)
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    ;;
  dnf) as_root dnf install -y "$@" ;;
  apk) as_root apk add "$@" ;;
  brew) brew install "$@" ;; # refuses to run as root
  esac
}

names=$(missing 0)
[ -n "$names" ] || exit 0
[ -n "$manager" ] || fail "missing: ${names% } (install them by hand: there is no apt-get, dnf, apk or brew here)"
packages=$(missing "$column")
printf 'dependencies: missing %s; installing with %s: %s\n' "${names% }" "$manager" "${packages% }"
# shellcheck disable=SC2086 # a list of package names
install_packages $packages || fail "$manager could not install ${packages% }"
names=$(missing 0)
[ -z "$names" ] || fail "still missing after installing: ${names% }"
