#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The ping-pong examples of libibverbs on every type of QP, polled and by events, with the data checked.
# lab@7.3: --hosts 1 --rails 0 --smp 2 --timeout 300
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh

check_listens=$(listens_tcp 18515)
# pingpong NAME PROGRAM OPTIONS...
pingpong() {
	local name=$1 program=$2
	shift 2
	check_pair "$name" "$program" -d "$rdma_dev" -g "$rdma_gid" -c "$@" -- "$program" -d "$rdma_dev" -g "$rdma_gid" -c "$@" "$rdma_ip"
}

rdma_up
for events in "" -e; do
	pingpong "rc$events" ibv_rc_pingpong $events -n 200
	pingpong "rc-64k$events" ibv_rc_pingpong $events -n 50 -s 65536
	pingpong "rc-odd$events" ibv_rc_pingpong $events -n 50 -s 12345
	pingpong "rc-new-send$events" ibv_rc_pingpong $events -n 100 -N
	pingpong "rc-odp$events" ibv_rc_pingpong $events -n 100 -o
	pingpong "uc$events" ibv_uc_pingpong $events -n 200
	pingpong "ud$events" ibv_ud_pingpong $events -n 200 -s 1024
	pingpong "srq$events" ibv_srq_pingpong $events -n 20 -q 16
	pingpong "srq-64k$events" ibv_srq_pingpong $events -n 10 -q 4 -s 65536
done
checks_end
rdma_down
