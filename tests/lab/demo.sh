#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What `make demo` runs in both guests.
. /checkout/tests/lab/guest/lib.sh

step() { [ "$LAB_HOST" = 2 ] || printf '\n-- %s\n' "$*"; }

step "Two machines with stock Linux $(uname -r), joined by one virtual USB4 cable (no usb4_rxe yet: these are the kernel's own drivers)"
lspci -d 1b36:4e48 | sed "s/^/PCI /"
tbnet_up
barrier up
peer=host$((3 - LAB_HOST))
answers "$peer"
for xdomain in $(tb_peers | cut -d' ' -f1); do
	cd "/sys/bus/thunderbolt/devices/$xdomain" || fail "no $xdomain"
	echo "cable $xdomain to $(<device_name), $(<rx_lanes) lanes of $(<rx_speed)"
done
cd /lab || exit 1
barrier seen

step "thunderbolt_net: ping and TCP"
[ "$LAB_HOST" = 2 ] && iperf3 --server --daemon --one-off
barrier ping
if [ "$LAB_HOST" = 1 ]; then
	ping -q -c 20 -i 0.05 "$peer" | sed -n '/^rtt/p'
	iperf3 --client "$peer" --time 4 --json | jq -r '"TCP " + (.end.sum_received.bits_per_second / 1e6 | floor | tostring) + " Mbit/s"'
fi

step "The cable is pulled, and plugged in again"
barrier pull
gone() { [ -z "$(tb_peers)" ]; }
export -f gone tb_peers
[ "$LAB_HOST" = 2 ] || lab fabric unplug 0
lab wait 30 bash -c gone || fail "the cable is still there"
echo "cable gone"
barrier gone
[ "$LAB_HOST" = 2 ] || lab fabric plug 0
tbnet_up
barrier back
answers "$peer"
[ "$LAB_HOST" = 2 ] || echo "ping again after replug"

step "What the fabric counted"
[ "$LAB_HOST" = 2 ] || lab fabric stats |
	jq -r '.cables[0] | "from host1 to host2", .forward, "from host2 to host1", .back |
		if type == "string" then . else "  \(.frames) frames, \(.bytes / 1e6 | floor) MB; without path while the cable was out: \(.no_path), lost with it: \(.unplugged)" end'
barrier end
