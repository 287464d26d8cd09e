#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# qperf's verbs tests with connections made by RDMA-CM, its verification of atomics included.
# lab@7.2: --hosts 1 --rails 0 --smp 2 --timeout 300
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh
. /checkout/tests/lab/guest/qperf.sh

rdma_up
qperf &
server=$!
lab wait 10 sh -c "$(listens_tcp 19765)" || fail "qperf does not listen"
# UC and UD are not here: qperf connects them itself whatever -cm says, with no GID, which RoCE does not allow.
for test in rc_bi_bw rc_bw rc_lat rc_rdma_read_bw rc_rdma_read_lat rc_rdma_write_bw rc_rdma_write_lat rc_rdma_write_poll_lat \
	rc_compare_swap_mr rc_fetch_add_mr ver_rc_compare_swap ver_rc_fetch_add; do
	qperf_cm "$rdma_ip" "$test"
done
kill "$server"
checks_end
rdma_down
