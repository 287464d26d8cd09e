#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# One frame in a hundred arrives with a wrong CRC, both ways: TCP gets through, and every loss is counted as what it is.
# lab: --no-module --fault "all corrupt=1%"
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh

tbnet_up
device=$(tbnet_devices "host$((3 - LAB_HOST))")
[ "$LAB_HOST" = 2 ] && iperf3 --server --daemon --one-off
barrier up
if [ "$LAB_HOST" = 1 ]; then
	answers host2
	iperf3 --client host2 --bytes 8M --json >/tmp/iperf || fail "iperf3: $(jq -r .error /tmp/iperf)"
	lab result tcp_mbit_1pct_crc "$(jq '.end.sum_received.bits_per_second / 1e6 | floor' /tmp/iperf)"
fi
barrier sent
errors=$(ip -s -s -j link show "$device" | jq '.[0].stats64.rx.crc_errors')
echo "$device: $errors CRC errors received"
if [ "$LAB_HOST" = 2 ]; then
	[ "$errors" -gt 0 ] || fail "no CRC error was seen in 8 MB"
	lab fabric stats >/tmp/stats || fail "no counters"
	corrupted=$(jq '.cables[0] | .forward.corrupted + .back.corrupted' /tmp/stats)
	[ "$corrupted" -ge "$errors" ] || fail "host counts $errors CRC errors, the fabric made $corrupted"
fi
barrier end
