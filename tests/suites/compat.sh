#!/usr/bin/env bash
# Shows: docs/compat.md has a row for every rule, each with a test or a reason, and the tests that it names exist and ran in this run
# Needs: python
# Usual: 1 s
# Budget: 60 s
#
# The last of all suites. In a run of some suites only, whether a test ran is not asked.
source "$(dirname "$0")/../lib/suite.sh"

step 'the checker names each planted fault'
(cd "$ROOT/tests/clients" && "$PYTHON" -B -m unittest -v compat_test)

step 'docs/compat.md'
asked=()
((WHOLE)) && asked=(--ran "$RUN_DIR/ran")
# shellcheck disable=SC2086
python_client compat.py "$ROOT" ${asked[@]+"${asked[@]}"} $SUITES
