# What every suite begins with: strict shell, progress, the trap that ends whatever the suite started.
#
# Given by tests/run: WORK (an empty directory of the suite's own), FULL (0 or 1), BROKER, and fd 3 for progress.
# Holds: 1 and 2 are the suite's log; a suite passes only by reaching its last line.
# shellcheck shell=bash
set -Eeuo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -z "${WORK:-}" ]; then
  exec "$ROOT/tests/run" "$(basename "$0" .sh)"
fi

source "$ROOT/tests/lib/tools.sh"
source "$ROOT/tests/lib/broker.sh"
source "$ROOT/tests/lib/store.sh"
source "$ROOT/tests/lib/kafka.sh"

SUITE_STARTED=$(now_ms)

# step TEXT: one line of progress for the log and for the person who watches.
step() {
  local line
  line=$(printf '  %4d s  %s' $((($(now_ms) - SUITE_STARTED) / 1000)) "$*")
  say "$line"
  # With no log of its own the line has just been shown.
  [ /dev/fd/3 -ef /dev/fd/2 ] || printf '%s\n' "$line" >&2
}

# ran CHECK...: names of checks that have held; docs/compat.md names them as SUITE:CHECK.
ran() { printf '%s\n' "$@" >>"$WORK/ran"; }

# expect WHAT WANTED GOT
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }

on_error() {
  local status=$1 line=$2 command=$3
  printf 'FAILED: line %s: `%s` ended with %s\n' "$line" "$command" "$status" >&2
}
trap 'on_error $? "$LINENO" "$BASH_COMMAND"' ERR

# Everything that the suite starts stays in its session; tests/run ends what is left of that.
on_exit() {
  local status=$?
  trap - ERR
  set +e
  broker_kill
  store_stop
  exit "$status"
}
trap on_exit EXIT
trap 'exit 143' TERM INT
