#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Stock thunderbolt_net over one cable: ping and TCP.
# lab@7.2: --no-module
. /checkout/tests/lab/guest/lib.sh

tbnet_up
[ "$LAB_HOST" = 2 ] && iperf3 --server --daemon --one-off
barrier up
if [ "$LAB_HOST" = 1 ]; then
	answers host2
	ping -c 20 -i 0.05 host2 | tee /tmp/ping || fail "lost pings on a healthy cable"
	lab result ping_avg_ms "$(sed -n 's|^rtt .* = [^/]*/\([^/]*\)/.*|\1|p' /tmp/ping)"
	iperf3 --client host2 --time 4 --json >/tmp/iperf || fail "iperf3: $(jq -r .error /tmp/iperf)"
	bits=$(jq '.end.sum_received.bits_per_second | floor' /tmp/iperf)
	[ "$bits" -gt 0 ] || fail "no data moved"
	lab result tcp_mbit "$((bits / 1000000))"
fi
barrier end
