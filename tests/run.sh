#!/bin/sh
# Runs test programs, as many at a time as there are processors, and adds up what Check says of each:
# tests/run.sh PROGRAM...
# A skipped test is a failure where the shared data must be there: with CI=true or TQ_SHARED set.
set -u
[ $# -gt 0 ] || exit 2

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

# shellcheck disable=SC2016 # the inner shell expands these
printf '%s\n' "$@" | xargs -P "$jobs" -n 1 sh -c '
  log=$0/$(printf "%s" "$1" | tr / _)
  "$1" >"$log" 2>&1
  status=$?
  echo $status >"$log.status"
  cat "$log"' "$logs"

# The number behind a word in Check's line, "100%: Checks: 29, Failures: 0, Errors: 0".
number() { sed -n "s/^[0-9]*%: \\(.*, \\)*$1: \\([0-9]*\\).*/\\2/p" "$log" | tail -n 1; }

checks=0 failures=0 errors=0 skipped=0 broken=''
for program in "$@"; do
  log=$logs/$(printf '%s' "$program" | tr / _)
  status=$(cat "$log.status")
  if [ -n "$(number Checks)" ]; then
    checks=$((checks + $(number Checks)))
    failures=$((failures + $(number Failures)))
    errors=$((errors + $(number Errors)))
  fi
  skipped=$((skipped + $(grep -c '^SKIPPED' "$log")))
  # A program may also end badly around its tests: a crash, a leak found at its end.
  if [ "$status" -ne 0 ] && [ "$(number Failures)$(number Errors)" = 00 ] || [ -z "$(number Checks)" ]; then
    printf '%s: ended with status %d\n' "$program" "$status"
    errors=$((errors + 1))
    checks=$((checks + 1))
  fi
  [ "$status" -eq 0 ] || broken="$broken $program"
done

if [ "$skipped" -gt 0 ]; then
  printf 'Skipped: %d\n' "$skipped"
  if [ "${CI:-}" = true ] || [ -n "${TQ_SHARED:-}" ]; then
    printf 'Skipped tests count as failures here.\n'
    failures=$((failures + skipped))
    checks=$((checks + skipped))
  fi
fi
[ -z "$broken" ] || printf 'Failed:%s\n' "$broken"
failed=$((failures + errors))
printf 'Checks: %d, Failures: %d, Errors: %d\n' "$checks" "$failures" "$errors"
printf '%d passed, %d failed\n' $((checks - failed)) "$failed"
[ "$failed" -eq 0 ]
