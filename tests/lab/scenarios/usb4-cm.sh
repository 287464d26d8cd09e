#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Connections by RDMA-CM between two hosts: its own tools, rsockets, qperf.
# lab@7.3: --rails 1 --timeout 300
# lab-long: --rails 2 --timeout 300
# lab-long: --rails 4 --mem 384 --timeout 300
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh
. /checkout/tests/lab/guest/qperf.sh

pair_up
barrier up
pair_answers
pair_all_rails

# The server's address, on both hosts.
server=${rdma_ip%.*}.2
check_listens=$(listens_cm)
across rping rping -s -a "$server" -V -C 50 -- rping -c -a "$server" -V -C 50
across rping-own-qp rping -s -a "$server" -V -C 20 -q -- rping -c -a "$server" -V -C 20 -q
across rping-64k rping -s -a "$server" -V -C 20 -S 65535 -- rping -c -a "$server" -V -C 20 -S 65535
across ucmatose ucmatose -b "$server" -- ucmatose -s "$server"
across ucmatose-20 ucmatose -b "$server" -c 20 -C 20 -S 4096 -- ucmatose -s "$server" -c 20 -C 20 -S 4096
across udaddy udaddy -b "$server" -c 5 -C 20 -S 512 -- udaddy -s "$server" -c 5 -C 20 -S 512
across rdma-server-client rdma_server -s "$server" -- rdma_client -s "$server"
across rdma-xserver-xclient rdma_xserver -c r -- rdma_xclient -s "$server" -c r
across rstream rstream -b "$server" -S all -C 20 -T v -- rstream -s "$server" -S all -C 20 -T v
across riostream riostream -b "$server" -S 16384 -C 20 -T v -- riostream -s "$server" -S 16384 -C 20 -T v
check_listens="grep -q joined /lab/output/mckey.server"
[ "$LAB_RDMA" = rxe ] ||
	across mckey stdbuf -oL mckey -m 239.1.2.3 -b "$server" -C 5 -- mckey -m 239.1.2.3 -b "${rdma_ip%.*}.1" -s -C 5

if [ "$LAB_HOST" = 2 ]; then
	qperf &
	qperf=$!
	lab wait 10 sh -c "$(listens_tcp 19765)" || fail "qperf does not listen"
fi
barrier qperf
if [ "$LAB_HOST" = 1 ]; then
	# UC and UD are not here: qperf connects them itself whatever -cm says, with no GID, which RoCE does not allow.
	for test in rc_bi_bw rc_bw rc_lat rc_rdma_read_bw rc_rdma_read_lat rc_rdma_write_bw rc_rdma_write_lat rc_rdma_write_poll_lat \
		rc_compare_swap_mr rc_fetch_add_mr ver_rc_compare_swap ver_rc_fetch_add; do
		qperf_cm "$server" "$test"
	done
fi
barrier qperf
[ "$LAB_HOST" != 2 ] || kill "$qperf"
across_end
