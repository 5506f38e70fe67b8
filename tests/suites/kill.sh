#!/usr/bin/env bash
# Shows: under SIGKILL at random no record is lost, duplicated, reordered or changed, on the local directory and on MinIO
# Needs: binary harness java python minio
# Usual: 150 s
# Usual full: 1300 s
# Budget: 600 s
# Budget full: 2400 s
#
# librdkafka and Java producers with idempotence, a reader at the tail, two readers of everything at the end. SIGKILL
# leaves the page cache as it was: what power loss does is shown by the simulation, not here.
source "$(dirname "$0")/../lib/suite.sh"
source "$ROOT/tests/lib/faults.sh"

seconds=60
((FULL)) && seconds=600
# Small uploads, so that kills also hit the way from WAL to bucket and its cleaning up.
uploads=(storage.upload.bytes=1048576 storage.upload.age.ms=1000 storage.object.delete.grace.ms=2000)

step "local directory, $seconds s"
broker_new "${uploads[@]}"
broker_start
fault_loop "$seconds" kill

# The stand-in has one medium.
if is_tidegate; then
  step "MinIO, $seconds s"
  store_new
  mapfile -t medium < <(store_settings)
  broker_new "${uploads[@]}" "${medium[@]}"
  broker_start
  fault_loop "$seconds" kill
fi
step 'done'
