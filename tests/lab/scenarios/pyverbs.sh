#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# rdma-core's own tests: every one that passes on upstream rxe passes, and none is skipped that upstream does not skip.
# lab: --hosts 1 --rails 0 --smp 2 --timeout 600
. /checkout/tests/lab/guest/rdma.sh

rdma_up
# The suite makes its own choice of addresses among those of the netdev: the first.
/checkout/tests/pyverbs/run --dev "$rdma_dev" --gid "$rdma_gid" --expected /checkout/tests/pyverbs/expected \
	--results /lab/pyverbs.txt --log /lab/pyverbs.log "$@" || fail "pyverbs"
rdma_down
