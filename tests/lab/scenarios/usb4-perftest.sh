#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# perftest between two hosts: every operation on every type of QP, bandwidth at all message sizes and latency (at all sizes with --long).
# lab@7.2: --rails 1 --timeout 400
# lab-long: --rails 2 --timeout 400
# lab-long: --rails 4 --timeout 400 --mem 384
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh
. /checkout/tests/lab/guest/perftest.sh

# perf NAME PROGRAM OPTIONS...: one check.
perf() { perftest across "$pair_ip" "$@"; }

pair_up
barrier up
pair_answers
pair_all_rails

# Latencies of 8 MiB take their time.
check_time=$((2 * check_time))
all="-a -n 5"
some="-n 200"
# All sizes where there is time.
sizes="-s 4096 -n 50"
[ "${LAB_LONG-}" != 1 ] || sizes="-a -n 5"
perf send-bw ib_send_bw $all
perf send-bw-uc ib_send_bw $all -c UC
perf send-bw-ud ib_send_bw -a -n 100 -c UD
perf write-bw ib_write_bw $all
perf write-bw-uc ib_write_bw $all -c UC
perf write-bw-imm ib_write_bw $all --write_with_imm
perf read-bw ib_read_bw $all
for kind in FETCH_AND_ADD CMP_AND_SWAP; do
	perf "atomic-bw-$kind" ib_atomic_bw $some -A $kind
	perf "atomic-lat-$kind" ib_atomic_lat $some -A $kind
done
perf send-lat ib_send_lat $sizes
perf send-lat-uc ib_send_lat $sizes -c UC
perf send-lat-ud ib_send_lat $sizes -c UD
perf write-lat ib_write_lat $sizes
perf write-lat-uc ib_write_lat $sizes -c UC
perf read-lat ib_read_lat $sizes

# Both ways at once, many QPs, shared receive queues, events, inline data, RDMA-CM.
perf send-bw-both-ways ib_send_bw $some -b
perf write-bw-both-ways ib_write_bw $some -b
perf read-bw-both-ways ib_read_bw $some -b
perf send-bw-ud-both-ways ib_send_bw $some -b -c UD -s 1024
perf send-bw-8-qps-srq ib_send_bw $some -q 8 -s 4096 --use-srq
perf write-bw-16-qps ib_write_bw $some -q 16 -s 16384
perf read-bw-16-qps ib_read_bw $some -q 16 -s 16384
perf send-bw-events ib_send_bw $some -e
perf send-lat-events ib_send_lat $some -s 64 -e
perf write-lat-inline ib_write_lat $some -s 64 -I 64
perf send-bw-lists ib_send_bw -n 128 -l 16 --recv_post_list 16
perf send-bw-cm ib_send_bw $some -R
perf send-bw-ud-cm ib_send_bw $some -R -c UD -s 1024
perf write-lat-cm ib_write_lat $some -s 64 -R
perf read-bw-cm ib_read_bw $some -R
perf write-bw-1m ib_write_bw -s 1048576 -n 100
perf read-bw-1m ib_read_bw -s 1048576 -n 100
perf send-bw-1m ib_send_bw -s 1048576 -n 100
perf write-lat-64 ib_write_lat -s 64 -n 500

# The address that the interface gives itself does as well.
rdma_gid=$(rdma_find_gid fe80:) || fail "no GID for the link-local address"
perf send-bw-link-local ib_send_bw $some
perf write-bw-link-local ib_write_bw $some
perf send-bw-ud-link-local ib_send_bw $some -c UD -s 1024
[ "$LAB_HOST" != 1 ] || perftest_result write-bw-1m read-bw-1m send-bw-1m write-lat-64
across_end
