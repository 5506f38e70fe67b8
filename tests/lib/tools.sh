# Installs what the suites need, once per version, into a cache that clean clones share.
#
# Owns: $TESTS_TOOLS, linked as .tools in the checkout.
# Holds: a tool's directory is named by its version or the hash of its list, and counts only once its `.ok` is there.
# Never: skips; a tool that cannot be had ends the run with the command that mends it.
# shellcheck shell=bash

MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
MC_VERSION=v0.0.0-20250313080218-cf909e1063a9
KAFKA_VERSION=4.1.2
# The crate that carries librdkafka's sources with its tests.
RDKAFKA_CRATE=4.10.0+2.12.1

TOOLS=$TESTS_TOOLS
LIB=$ROOT/tests/lib

hash_of() { cat "$@" | sha256sum | cut -c1-12; }

MINIO_DIR=$TOOLS/minio-$MINIO_VERSION
MC_DIR=$TOOLS/mc-$MC_VERSION
KAFKA_DIR=$TOOLS/kafka-$KAFKA_VERSION-$(hash_of "$LIB/kafka-pom.xml")
JAVA_CLASSES_DIR=$TOOLS/java-clients-$(hash_of "$LIB/kafka-pom.xml" "$ROOT"/tests/clients/java/*.java)
PYTHON_DIR=$TOOLS/python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)-$(hash_of "$LIB/requirements.txt")
NODE_DIR=$TOOLS/node-$(hash_of "$LIB/package.json" "$LIB/package-lock.json")
# The version, and the revision of rdkafka_install below.
RDKAFKA_DIR=$TOOLS/librdkafka-$RDKAFKA_CRATE-1
MINIO_BIN=$MINIO_DIR/minio
MC_BIN=$MC_DIR/mc
KAFKA_LIBS=$KAFKA_DIR/libs
PYTHON=$PYTHON_DIR/bin/python
# A binary that was named is tested as it is.
BINARY=${TESTS_BINARY:-$ROOT/target/ci/tidegate}
RDKAFKA_SRC=$RDKAFKA_DIR/vendor/rdkafka-sys/librdkafka
export TOOLS NODE_DIR RDKAFKA_DIR RDKAFKA_SRC MINIO_BIN MC_BIN KAFKA_LIBS JAVA_CLASSES_DIR PYTHON BINARY KAFKA_VERSION

# run_step NAME REMEDY COMMAND...: runs with its output in a log; on failure shows the end of it and the remedy.
run_step() {
  local name=$1 remedy=$2 log started
  shift 2
  log=$TOOLS/log/${name// /-}.log
  mkdir -p "$TOOLS/log"
  say "  preparing $name ..."
  started=$(now_ms)
  if ! "$@" >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    say "  $name: failed; the whole log is $log"
    say "  remedy: $remedy"
    exit 1
  fi
  say "  $name: ready after $((($(now_ms) - started) / 1000)) s"
}

need_command() {
  local command=$1 package=$2 remedy=$3
  command -v "$command" >/dev/null && return
  if [ -n "$package" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    run_step "$package" "$remedy" apt_install "$package"
  fi
  hash -r
  command -v "$command" >/dev/null || fail "\`$command\` is not here; remedy: $remedy"
}

# DPkg::Lock::Timeout: another apt on the machine is waited for instead of failing the run.
apt_install() {
  apt-get -o DPkg::Lock::Timeout=300 update
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

go_install() {
  local dir=$1 module=$2
  need_command go '' 'install Go 1.24 or later and put it on PATH'
  rm -rf "$dir" && mkdir -p "$dir"
  GOBIN=$dir GOFLAGS=-mod=mod CGO_ENABLED=0 go install "$module" && touch "$dir/.ok"
}

kafka_install() {
  rm -rf "$KAFKA_DIR" && mkdir -p "$KAFKA_DIR"
  mvn -B -f "$LIB/kafka-pom.xml" dependency:copy-dependencies -DoutputDirectory="$KAFKA_LIBS" &&
    [ -f "$KAFKA_LIBS/kafka-clients-$KAFKA_VERSION.jar" ] && touch "$KAFKA_DIR/.ok"
}

java_compile() {
  rm -rf "$JAVA_CLASSES_DIR" && mkdir -p "$JAVA_CLASSES_DIR"
  javac -Xlint:all,-classfile -Werror --release 17 -cp "$KAFKA_LIBS/kafka-clients-$KAFKA_VERSION.jar" \
    -d "$JAVA_CLASSES_DIR" "$ROOT"/tests/clients/java/*.java && touch "$JAVA_CLASSES_DIR/.ok"
}

python_install() {
  rm -rf "$PYTHON_DIR"
  python3 -m venv "$PYTHON_DIR" &&
    "$PYTHON_DIR/bin/pip" install --disable-pip-version-check --only-binary :all: -r "$LIB/requirements.txt" &&
    touch "$PYTHON_DIR/.ok"
}

node_install() {
  rm -rf "$NODE_DIR" && mkdir -p "$NODE_DIR"
  cp "$LIB/package.json" "$LIB/package-lock.json" "$NODE_DIR" &&
    npm --prefix "$NODE_DIR" ci --no-audit --no-fund --ignore-scripts && touch "$NODE_DIR/.ok"
}

# librdkafka with the runner of its own tests and its benchmark, from the crate that carries them. SSL and SASL are left
# out: no listener here speaks them. RapidJSON is what some tests read statistics with.
rdkafka_install() {
  rm -rf "$RDKAFKA_DIR" && mkdir -p "$RDKAFKA_DIR/src"
  : >"$RDKAFKA_DIR/src/lib.rs"
  cat >"$RDKAFKA_DIR/Cargo.toml" <<TOML
[package]
name = "librdkafka-sources"
version = "0.0.0"
edition = "2021"
[dependencies]
rdkafka-sys = "=${RDKAFKA_CRATE%%+*}"
[workspace]
TOML
  cargo vendor --manifest-path "$RDKAFKA_DIR/Cargo.toml" "$RDKAFKA_DIR/vendor" >/dev/null &&
    (cd "$RDKAFKA_SRC" && ./configure --disable-gssapi --disable-ssl --disable-curl --disable-sasl) &&
    grep -q 'WITH_RAPIDJSON.*y' "$RDKAFKA_SRC/Makefile.config" &&
    nice make -C "$RDKAFKA_SRC" -j"$(nproc)" libs &&
    nice make -C "$RDKAFKA_SRC/tests" -j"$(nproc)" test-runner &&
    nice make -C "$RDKAFKA_SRC/examples" rdkafka_performance &&
    rdkafka_shims && touch "$RDKAFKA_DIR/.ok"
}

# What the tests call as KAFKA_PATH: Kafka's scripts, from its jars.
rdkafka_shims() {
  local kafka=$RDKAFKA_DIR/kafka script class
  mkdir -p "$kafka/bin"
  ln -sfn "$KAFKA_LIBS" "$kafka/libs"
  while read -r script class; do
    printf '#!/bin/sh\nexec java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$CLASSPATH:%s/*" %s "$@"\n' "$KAFKA_LIBS" "$class" \
      >"$kafka/bin/$script.sh" && chmod +x "$kafka/bin/$script.sh" || return 1
  done <<'SCRIPTS'
kafka-topics org.apache.kafka.tools.TopicCommand
kafka-acls org.apache.kafka.tools.AclCommand
kafka-configs kafka.admin.ConfigCommand
kafka-run-class
SCRIPTS
  KAFKA_PATH=$kafka make -s -C "$RDKAFKA_SRC/tests" java
}

# One selection for build, tests and clippy, so that all tests share each compiled crate. The tests hold planted bugs
# (docs/mutants.md). The broker's binary must not: it is built once more without them, from the same compiled
# dependencies, and comes last, since both builds leave it at the same place.
CARGO_SELECTION=(--workspace --features tidegate-s3stream/minio-tests,tidegate-tests/mutants --profile ci --locked)
BINARY_SELECTION=(--workspace --features tidegate-s3stream/minio-tests --profile ci --locked)
build_binary() {
  (cd "$ROOT" && cargo build "${CARGO_SELECTION[@]}" --bins --tests && cargo build "${BINARY_SELECTION[@]}" --bin tidegate)
}
build_harness() {
  (cd "$ROOT" && cargo build "${CARGO_SELECTION[@]}" --bins)
}

# One function per word of a suite's `Needs:` line.
tool_cargo() { need_command cargo '' 'install Rust with rustup (rust-toolchain.toml names the version)'; }

tool_binary() {
  tool_cargo
  if [ "$BROKER" != tidegate ] || [ -f "$RUN_DIR/built" ]; then return 0; fi
  if [ -n "$TESTS_BINARY" ]; then
    [ -x "$BINARY" ] || fail "TIDEGATE_BIN=$BINARY is no program"
    return 0
  fi
  run_step 'the ci build' 'mend the compile error above' build_binary
  [ -x "$BINARY" ] || fail "the build left no $BINARY"
  # One build for all suites of a run, even if someone edits meanwhile.
  touch "$RUN_DIR/built"
}

# The programs of the tests themselves: they come with the binary's build, and are built without it where one was named.
tool_harness() {
  tool_cargo
  [ -f "$RUN_DIR/built" ] || run_step 'the programs of the tests' 'mend the compile error above' build_harness
}

tool_strace() { need_command strace strace 'as root: apt-get update && apt-get install -y strace'; }

tool_minio() {
  need_command curl curl 'apt-get install curl'
  [ -f "$MINIO_DIR/.ok" ] ||
    run_step 'MinIO server' 'see that the Go module proxy is reached' go_install "$MINIO_DIR" "github.com/minio/minio@$MINIO_VERSION"
  [ -f "$MC_DIR/.ok" ] ||
    run_step 'MinIO client' 'see that the Go module proxy is reached' go_install "$MC_DIR" "github.com/minio/mc@$MC_VERSION"
}

tool_jars() {
  [ -f "$KAFKA_DIR/.ok" ] && return
  need_command mvn maven 'apt-get install maven'
  run_step "Kafka $KAFKA_VERSION jars" 'see that Maven Central is reached' kafka_install
}

tool_java() {
  need_command javac openjdk-17-jdk-headless 'apt-get install openjdk-17-jdk-headless'
  tool_jars
  [ -f "$JAVA_CLASSES_DIR/.ok" ] ||
    run_step 'Java test clients' 'mend the compile error in tests/clients/java' java_compile
}

tool_node() {
  need_command node nodejs 'install Node.js 18 or later and put it on PATH'
  need_command npm npm 'install npm and put it on PATH'
  [ -f "$NODE_DIR/.ok" ] ||
    run_step 'Node clients' 'see that the npm registry is reached' node_install
}

need_header() {
  local header=$1 package=$2
  [ -f "/usr/include/$header" ] && return
  [ "$(id -u)" = 0 ] || fail "$header is not here; remedy: apt-get install $package"
  run_step "$package" "apt-get install $package" apt_install "$package"
}

tool_rdkafka() {
  if [ -f "$RDKAFKA_DIR/.ok" ]; then return 0; fi
  tool_cargo
  tool_jars
  need_command javac openjdk-17-jdk-headless 'apt-get install openjdk-17-jdk-headless'
  need_command g++ g++ 'apt-get install g++'
  need_command make make 'apt-get install make'
  need_header zlib.h zlib1g-dev
  need_header zstd.h libzstd-dev
  need_header rapidjson/document.h rapidjson-dev
  run_step "librdkafka's tests" 'see that crates.io is reached, and the log' rdkafka_install
}

tool_kcat() { need_command kcat kcat 'as root: apt-get update && apt-get install -y kcat'; }

tool_python() {
  need_command python3 python3 'apt-get install python3 python3-venv'
  if [ -f "$PYTHON_DIR/.ok" ]; then return; fi
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then
      run_step python3-venv 'apt-get install python3-venv' apt_install python3-venv
    else
      fail 'python3 has no venv module; remedy: apt-get install python3-venv'
    fi
  fi
  run_step 'Python clients' 'see that PyPI is reached, or use a Python that has wheels for tests/lib/requirements.txt' python_install
}

# install_tools WORD...: one installer at a time, whoever else runs the tests on this machine.
install_tools() {
  local word
  mkdir -p "$TOOLS"
  ln -sfn "$TOOLS" "$ROOT/.tools"
  for word in "$@"; do
    declare -F "tool_$word" >/dev/null || fail "unknown prerequisite '$word'"
    if [ "$word" = binary ] || [ "$word" = cargo ] || [ "$word" = harness ]; then
      "tool_$word"
    else
      # A subshell, so that the lock goes with it however it ends.
      (flock -w 1800 9 || fail "another install holds $TOOLS/.lock for half an hour"; "tool_$word") 9>"$TOOLS/.lock" || exit 1
    fi
  done
}
