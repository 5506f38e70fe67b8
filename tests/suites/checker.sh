#!/usr/bin/env bash
# Shows: what the fault runs' clients write into a history is what happened (its checker's planted anomalies are in `unit`)
# Needs: python
# Usual: 1 s
# Budget: 60 s
source "$(dirname "$0")/../lib/suite.sh"

step 'lines, digests and records'
cd "$ROOT/tests/clients" && "$PYTHON" -B -m unittest -v history_test
