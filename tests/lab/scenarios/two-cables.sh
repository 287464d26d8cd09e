#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Two cables between two hosts are two XDomains, on both sides, and each carries traffic of its own.
# lab: --no-module --rails 2
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh

peer=host$((3 - LAB_HOST))
tb_load thunderbolt_net
two_devices() { [ "$(tbnet_devices "$peer" | wc -l)" = 2 ]; }
export -f two_devices tbnet_devices
export peer
lab wait 60 bash -c two_devices || fail "two cables gave these interfaces: $(tbnet_devices "$peer" | xargs)"
tb_peers | tee /tmp/peers
[ "$(wc -l </tmp/peers)" = 2 ] || fail "expected two XDomains"

# The interface on cable C is the one of domain C: hosts number their routers in PCI order.
for cable in 0 1; do
	for device in $(tbnet_devices "$peer"); do
		case $(readlink -f "/sys/class/net/$device") in
		*/domain$cable/*)
			ip address add "10.0.$cable.$LAB_HOST/24" dev "$device"
			ip link set "$device" up
			;;
		esac
	done
done
barrier up
if [ "$LAB_HOST" = 1 ]; then
	for cable in 0 1; do
		answers "10.0.$cable.2"
	done
	# With one cable stalled the other must not care.
	lab fabric fault 1 stall=on
	ping -c 10 -i 0.05 10.0.0.2 || fail "cable 0 suffers from cable 1"
	! ping -c 3 -i 0.2 -W 1 10.0.1.2 >/dev/null || fail "a stalled cable carried a ping"
	lab fabric fault 1 stall=off
	answers 10.0.1.2
fi
barrier end
