#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# rdma-core's own tests: every one that passes on upstream rxe passes, none is skipped that upstream does not skip, and none fails.
# lab: --hosts 1 --rails 0 --smp 2 --timeout 600
. /checkout/tests/lab/guest/rdma.sh

rdma_up
# The suite makes its own choice of addresses among those of the netdev: the first.
all_pass=(--all-pass)
[ "$LAB_RDMA" != rxe ] || all_pass=()
/checkout/tests/pyverbs/run --dev "$rdma_dev" --gid "$rdma_gid" --expected /checkout/tests/pyverbs/expected "${all_pass[@]}" \
	--results /lab/pyverbs.txt --log /lab/pyverbs.log "$@" || fail "pyverbs"
rdma_down
