# The fault proxies: one between clients and the broker, one between the broker and its store.
#
# Owns: the processes it starts; CLIENT_PROXY_PORT is the broker's advertised port, STORE_PROXY_PORT its store's endpoint.
# Holds: what a proxy has done is asked of the proxy (its counts), so a fault without effect shows.
# shellcheck shell=bash

CLIENT_PROXY_PORT='' CLIENT_PROXY_CONTROL='' STORE_PROXY_PORT='' STORE_PROXY_CONTROL=''

# proxy_start KIND LISTEN CONTROL UPSTREAM_PORT
proxy_start() {
  "$FAULT_PROXY" "$1" --listen "127.0.0.1:$2" --control "127.0.0.1:$3" --upstream "127.0.0.1:$4" >>"$WORK/proxy.log" 2>&1 &
  wait_until 10 "the $1 proxy listens" proxy_ask "$3" stats
}

# client_proxy: in front of the broker that broker_new has prepared; clients are told its port alone.
client_proxy() {
  CLIENT_PROXY_PORT=$(free_port) CLIENT_PROXY_CONTROL=$(free_port)
  proxy_start kafka "$CLIENT_PROXY_PORT" "$CLIENT_PROXY_CONTROL" "$BROKER_PORT"
  broker_config "advertised.listeners=PLAINTEXT://127.0.0.1:$CLIENT_PROXY_PORT"
  BOOTSTRAP=127.0.0.1:$CLIENT_PROXY_PORT
}

# store_proxy: in front of the MinIO that store_new has started.
store_proxy() {
  STORE_PROXY_PORT=$(free_port) STORE_PROXY_CONTROL=$(free_port)
  proxy_start http "$STORE_PROXY_PORT" "$STORE_PROXY_CONTROL" "$STORE_PORT"
}

# proxy_ask CONTROL WORDS...: prints the counts; fails if the proxy does not know what is meant.
proxy_ask() {
  local control=$1 answer
  shift
  # A command substitution of its own, for a refused connection ends the shell that opens it.
  answer=$(exec 4<>"/dev/tcp/127.0.0.1/$control" && printf '%s\n' "$*" >&4 && cat <&4) 2>/dev/null || return 1
  case $answer in
    ok*) printf '%s\n' "${answer#ok}" ;;
    *) fail "the proxy says: $answer" ;;
  esac
}

# proxy_count CONTROL NAME
proxy_count() { proxy_ask "$1" stats | awk -v name="$2" '$1 == name { count = $2 } END { print count + 0 }'; }
proxy_counts_more_than() { (($(proxy_count "$1" "$2") > $3)); }
