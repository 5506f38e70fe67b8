#!/usr/bin/env bash
# Shows: kafkajs: records, idempotence, admin, groups with rebalances and a crash, resets, and the words of refusals
# Needs: binary node
# Usual: 20 s
# Budget: 180 s
source "$(dirname "$0")/../lib/suite.sh"

broker_new auto.create.topics.enable=false group.initial.rebalance.delay.ms=0
broker_start
step 'kafkajs'
NODE_PATH=$NODE_DIR/node_modules timeout "$CLIENT_SECONDS" node "$ROOT/tests/clients/kafkajs.js" "$BOOTSTRAP" "$WORK/ran"
step "$(wc -l <"$WORK/ran") checks hold"
