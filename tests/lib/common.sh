# Shared by tests/run and every suite: messages, deadlines, ports, processes.
#
# Owns: nothing on disk. Holds: every wait has a deadline, and a wait that ends says what it waited for.
# Never: a sleep in place of a condition, a signal to a process that this run did not start.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export ROOT CARGO_TERM_COLOR=never

# File descriptor 3 is the person who watches; in a suite 1 and 2 are its log. Outside they are the same.
{ : >&3; } 2>/dev/null || exec 3>&1

now_ms() { local up; read -r up _ </proc/uptime; up=${up/./}; echo "$((10#$up * 10))"; }

say() { printf '%s\n' "$*" >&3; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# wait_until SECONDS WHAT COMMAND...: polls until COMMAND succeeds; at the deadline names WHAT and fails.
wait_until() {
  local seconds=$1 what=$2 deadline
  shift 2
  deadline=$(($(now_ms) + seconds * 1000))
  until "$@"; do
    if (($(now_ms) > deadline)); then
      fail "$what: not within $seconds s"
    fi
    sleep 0.1
  done
}

# A free port below the ephemeral range, so that no outgoing connection takes it while a broker is down.
free_port() {
  local low port try
  read -r low _ </proc/sys/net/ipv4/ip_local_port_range
  for try in $(seq 200); do
    port=$((10240 + (RANDOM * 32768 + RANDOM) % (low - 10240)))
    # Listening or lingering, on any address: the kernel's own tables are the truth.
    if ! grep -qi ":$(printf '%04X' "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  fail "no free port found in $try tries"
}

# Ends one process that this run started: TERM, then KILL once SECONDS have passed. Returns its exit status.
end_process() {
  local pid=$1 seconds=${2:-10} deadline
  kill -TERM "$pid" 2>/dev/null || true
  deadline=$(($(now_ms) + seconds * 1000))
  while kill -0 "$pid" 2>/dev/null; do
    if (($(now_ms) > deadline)); then
      kill -KILL "$pid" 2>/dev/null || true
      break
    fi
    sleep 0.05
  done
  wait "$pid"
}
