#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the objects around queue pairs promise: notification, overrun, resizing, limits, address handles, multicast, mappings,
# memory regions, windows, on-demand paging, FLUSH; and what queue pairs tell: events.
# The largest queues take some 300 MiB; with less to spare some other kernel thread may want memory at that moment, and gets a kill.
# lab: --hosts 1 --rails 0 --smp 2 --mem 768 --timeout 300
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh

program=/checkout/out/verbs/verbs
[ -x $program ] || fail "no $program: run tests/verbs/build"
rdma_up
for test in cq srq ah mcast maps mr mw odp qp flush; do
	check "$test" $program "$rdma_dev" "$rdma_gid" "$test"
done
checks_end
rdma_down
