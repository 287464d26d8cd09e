#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Three hosts in a chain; the one in the middle forwards.
# lab@7.3: --no-module --topology tests/lab/topologies/chain3.toml --mem 384
. /checkout/tests/lab/guest/lib.sh

case $LAB_HOST in
1)
	tbnet_up host2
	ip route add 10.0.3.0/24 via 10.0.0.2
	;;
2)
	tbnet_up host1
	lab wait 60 bash -c '. /checkout/tests/lab/guest/lib.sh; [ -n "$(tbnet_devices host3)" ]' || fail "host3 is not there"
	device=$(tbnet_devices host3)
	ip address add 10.0.3.2/24 dev "$device"
	ip link set "$device" up
	sysctl -qw net.ipv4.ip_forward=1
	;;
3)
	tb_load thunderbolt_net
	lab wait 60 bash -c '. /checkout/tests/lab/guest/lib.sh; [ -n "$(tbnet_devices host2)" ]' || fail "host2 is not there"
	device=$(tbnet_devices host2)
	ip address add 10.0.3.3/24 dev "$device"
	ip link set "$device" up
	ip route add 10.0.0.0/24 via 10.0.3.2
	;;
esac
barrier up
[ "$LAB_HOST" != 1 ] || answers 10.0.3.3
[ "$LAB_HOST" != 3 ] || answers 10.0.0.1
barrier end
