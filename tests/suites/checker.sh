#!/usr/bin/env bash
# Shows: the kill loop's checker names each planted anomaly: lost, duplicate, reorder, changed, phantom, two values at one offset and more
# Needs: python
# Usual: 1 s
# Budget: 60 s
source "$(dirname "$0")/../lib/suite.sh"

step 'planted anomalies'
cd "$ROOT/tests/clients" && "$PYTHON" -B -m unittest -v checker_test
