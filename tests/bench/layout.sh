#!/bin/sh
# Measures the candidate layouts and puts the tables into docs/kernels.md, between its two marks. On a busy machine they are
# not to be relied on. Usage: tests/bench/layout.sh [ROUNDS [MEBIBYTES]]    (BUILD names the build folder)
set -eu

document=$(dirname "$0")/../../docs/kernels.md
tables=$(mktemp "${TMPDIR:-/tmp}/tq-layout-XXXXXX")
trap 'rm -f "$tables" "$tables.document"' EXIT

"${BUILD:-build}/tests/bench/layout" "$@" >"$tables"
awk -v tables="$tables" '
  /^<!-- end of the tables/ { inside = 0 }
  !inside
  /^<!-- tables of make bench-layout/ {
    inside = 1
    print ""
    while ((getline line <tables) > 0) print line
    print ""
  }' "$document" >"$tables.document"
cat "$tables.document" >"$document"
cat "$tables"
