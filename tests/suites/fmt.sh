#!/usr/bin/env bash
# Shows: every Rust file is formatted as rustfmt.toml says
# Needs: cargo
# Usual: 2 s
# Budget: 60 s
source "$(dirname "$0")/../lib/suite.sh"

step 'cargo fmt --check'
cd "$ROOT" && cargo fmt --all -- --check --color never
