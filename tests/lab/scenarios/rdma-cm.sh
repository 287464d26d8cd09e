#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# RDMA-CM's own tools, rsockets, and qperf connected by RDMA-CM.
# lab: --hosts 1 --rails 0 --smp 2 --timeout 400
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh

rdma_up
check_listens=$(listens_cm)
check_pair rping rping -s -a "$rdma_ip" -V -C 20 -- rping -c -a "$rdma_ip" -V -C 20
check_pair rping-own-qp rping -s -a "$rdma_ip" -V -C 20 -q -- rping -c -a "$rdma_ip" -V -C 20 -q
check_pair rping-16k rping -s -a "$rdma_ip" -V -C 20 -S 16384 -- rping -c -a "$rdma_ip" -V -C 20 -S 16384
check_pair ucmatose ucmatose -b "$rdma_ip" -- ucmatose -s "$rdma_ip"
check_pair ucmatose-10 ucmatose -b "$rdma_ip" -c 10 -C 20 -S 4096 -- ucmatose -s "$rdma_ip" -c 10 -C 20 -S 4096
check_pair udaddy udaddy -b "$rdma_ip" -- udaddy -s "$rdma_ip"
check_pair udaddy-5 udaddy -b "$rdma_ip" -c 5 -C 20 -S 512 -- udaddy -s "$rdma_ip" -c 5 -C 20 -S 512
check_pair rdma-server-client rdma_server -s "$rdma_ip" -- rdma_client -s "$rdma_ip"
check_pair rdma-xserver-xclient rdma_xserver -c r -- rdma_xclient -s "$rdma_ip" -c r
check_pair rstream rstream -b "$rdma_ip" -S 4096 -C 50 -T v -- rstream -s "$rdma_ip" -S 4096 -C 50 -T v
check_pair riostream riostream -b "$rdma_ip" -S 4096 -C 20 -T v -- riostream -s "$rdma_ip" -S 4096 -C 20 -T v

# Nothing listens here: the receiver is ready when it says that it has joined. The sender posts and leaves without waiting for
# its sends, and with it what upstream has only scheduled: there, any number of messages may arrive.
check_listens="grep -q joined /lab/output/mckey.server"
[ "$LAB_RDMA" = rxe ] ||
	check_pair mckey stdbuf -oL mckey -m 239.1.2.3 -b "$rdma_ip" -C 5 -- mckey -m 239.1.2.3 -b "$rdma_ip" -s -C 5
checks_end
rdma_down
