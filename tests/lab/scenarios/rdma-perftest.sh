#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# perftest on a loop-back: every operation on every type of QP, bandwidth and latency, with its ways to post and to connect.
# lab@7.3: --hosts 1 --rails 0 --smp 2 --timeout 600
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh
. /checkout/tests/lab/guest/perftest.sh

# perf NAME PROGRAM OPTIONS...: one check.
perf() { perftest check_pair "$rdma_ip" "$@"; }

bandwidth="-n 100"
latency="-n 200"

rdma_up

perf send-bw ib_send_bw $bandwidth
perf send-bw-srq ib_send_bw $bandwidth --use-srq
perf send-bw-inline ib_send_bw $bandwidth -s 128 -I 128
perf send-bw-both-ways ib_send_bw $bandwidth -b
perf send-bw-8-qps ib_send_bw $bandwidth -q 8 -s 4096
perf send-bw-8-qps-srq ib_send_bw $bandwidth -q 8 -s 4096 --use-srq
perf send-bw-cm ib_send_bw $bandwidth -R
perf send-bw-events ib_send_bw $bandwidth -e
perf send-bw-lists ib_send_bw -n 128 -l 16 --recv_post_list 16
perf send-bw-old-api ib_send_bw $bandwidth --use_old_post_send
perf send-bw-odp ib_send_bw $bandwidth --odp
perf send-bw-uc ib_send_bw $bandwidth -c UC
perf send-bw-uc-both-ways ib_send_bw $bandwidth -c UC -b
perf send-bw-uc-8-qps ib_send_bw $bandwidth -c UC -q 8 -s 4096
perf send-bw-ud ib_send_bw $bandwidth -c UD -s 1024
perf send-bw-ud-srq ib_send_bw $bandwidth -c UD -s 1024 --use-srq
perf send-bw-ud-inline ib_send_bw $bandwidth -c UD -s 64 -I 64
perf send-bw-ud-both-ways ib_send_bw $bandwidth -c UD -s 1024 -b
perf send-bw-ud-8-qps ib_send_bw $bandwidth -c UD -s 1024 -q 8
perf send-bw-ud-cm ib_send_bw $bandwidth -R -c UD -s 1024
perf send-lat ib_send_lat $latency -s 64
perf send-lat-srq ib_send_lat $latency -s 64 --use-srq
perf send-lat-inline ib_send_lat $latency -s 64 -I 64
perf send-lat-cm ib_send_lat $latency -s 64 -R
perf send-lat-events ib_send_lat $latency -s 64 -e
perf send-lat-uc ib_send_lat $latency -s 64 -c UC
perf send-lat-ud ib_send_lat $latency -s 64 -c UD
perf send-lat-ud-srq ib_send_lat $latency -s 64 -c UD --use-srq

perf write-bw ib_write_bw $bandwidth
perf write-bw-imm ib_write_bw $bandwidth --write_with_imm
perf write-bw-inline ib_write_bw $bandwidth -s 128 -I 128
perf write-bw-both-ways ib_write_bw $bandwidth -b
perf write-bw-8-qps ib_write_bw $bandwidth -q 8 -s 4096
perf write-bw-cm ib_write_bw $bandwidth -R
perf write-bw-1m ib_write_bw -n 10 -s 1048576
perf write-bw-odp ib_write_bw $bandwidth --odp
perf write-bw-uc ib_write_bw $bandwidth -c UC
perf write-bw-uc-imm ib_write_bw $bandwidth -c UC --write_with_imm
perf write-bw-uc-both-ways ib_write_bw $bandwidth -c UC -b
perf write-bw-uc-8-qps ib_write_bw $bandwidth -c UC -q 8 -s 4096
perf write-lat ib_write_lat $latency -s 64
perf write-lat-imm ib_write_lat $latency -s 64 --write_with_imm
perf write-lat-inline ib_write_lat $latency -s 64 -I 64
perf write-lat-cm ib_write_lat $latency -s 64 -R
perf write-lat-uc ib_write_lat $latency -s 64 -c UC

perf read-bw ib_read_bw $bandwidth
perf read-bw-both-ways ib_read_bw $bandwidth -b
perf read-bw-8-qps ib_read_bw $bandwidth -q 8 -s 4096
perf read-bw-cm ib_read_bw $bandwidth -R
perf read-bw-events ib_read_bw $bandwidth -e
perf read-bw-1m ib_read_bw -n 10 -s 1048576
perf read-lat ib_read_lat $latency -s 64
perf read-lat-cm ib_read_lat $latency -s 64 -R
perf read-lat-events ib_read_lat $latency -s 64 -e

for kind in FETCH_AND_ADD CMP_AND_SWAP; do
	short=${kind%%_*}
	perf "atomic-bw-${short,,}" ib_atomic_bw $bandwidth -A $kind
	perf "atomic-bw-${short,,}-both-ways" ib_atomic_bw $bandwidth -A $kind -b
	perf "atomic-bw-${short,,}-8-qps" ib_atomic_bw $bandwidth -A $kind -q 8
	perf "atomic-bw-${short,,}-cm" ib_atomic_bw $bandwidth -A $kind -R
	perf "atomic-bw-${short,,}-events" ib_atomic_bw $bandwidth -A $kind -e
	perf "atomic-lat-${short,,}" ib_atomic_lat $latency -A $kind
	perf "atomic-lat-${short,,}-cm" ib_atomic_lat $latency -A $kind -R
done
perftest_result send-bw write-bw-1m read-bw-1m write-lat send-lat
checks_end
rdma_down
