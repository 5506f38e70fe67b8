#!/usr/bin/env bash
# Shows: no warning of rustc or clippy in any target, under the workspace's lints
# Needs: cargo
# Usual: 60 s
# Budget: 1500 s
source "$(dirname "$0")/../lib/suite.sh"

step 'cargo clippy'
cd "$ROOT" && cargo clippy "${CARGO_SELECTION[@]}" --all-targets -- -D warnings
