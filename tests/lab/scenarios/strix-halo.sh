#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Routers with three rings, a cable with one lane, and a host that is cabled to itself: the kernel sees each as what it is.
# lab: --no-module --topology tests/lab/topologies/strix-halo.toml --mem 384
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh

# peers_are TEXT: the cables as the kernel lists them, "XDomain peer lanes".
peers_are() {
	local xdomain peer
	tb_peers | while read -r xdomain peer; do
		echo "$xdomain $peer $(<"/sys/bus/thunderbolt/devices/$xdomain/rx_lanes")"
	done >/tmp/peers
	[ "$(xargs </tmp/peers)" = "$1" ] || { cat /tmp/peers; false; }
}
export -f peers_are tb_peers
tb_load thunderbolt_net
case $LAB_HOST in
1) expected="0-1 host2 2 1-1 host2 1" ;;
2) expected="0-1 host1 2 1-1 host1 1" ;;
3) expected="0-1 host3 2 1-1 host3 2" ;;
esac
lab wait 60 bash -c "peers_are '$expected'" || fail "wanted: $expected"
cat /tmp/peers
if [ "$LAB_HOST" != 3 ]; then
	tbnet_up
fi
barrier up
[ "$LAB_HOST" != 1 ] || answers host2
barrier end
