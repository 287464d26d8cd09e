#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# thunderbolt_net on the same cable: loaded after this module, there before it, and unloaded. Both carry IP meanwhile.
# lab@7.3:
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
usb4_up
barrier up
answers "$peer"

echo "== thunderbolt_net comes after us"
tbnet_addresses() {
	lab wait 60 sh -c "[ -n \"\$(bash -c '. /checkout/tests/lab/guest/lib.sh; tbnet_devices $peer')\" ]" || fail "no thunderbolt_net interface"
	device=$(tbnet_devices "$peer" | head -n 1)
	ip address replace "10.9.0.$LAB_HOST/24" dev "$device"
	ip link set "$device" up
}
modprobe thunderbolt_net || fail "modprobe"
tbnet_addresses
barrier tbnet
answers 10.9.0.$((3 - LAB_HOST))
answers "$peer"
barrier after

echo "== thunderbolt_net was there before us"
rmmod usb4_rxe || fail "rmmod"
barrier without
answers 10.9.0.$((3 - LAB_HOST))
barrier alone
usb4_up
answers "$peer"
answers 10.9.0.$((3 - LAB_HOST))
barrier before
# Not on the debug kernel: lockdep takes the control ring's work, which handles a login, and the one of a data ring, which thunderbolt_net
# flushes as it closes, for the same work, and reports a deadlock (7.2.12; nothing of ours in the trace).
if [ "$LAB_PATIENCE" = 1 ]; then
	ip link set "$device" down
	rmmod thunderbolt_net || fail "rmmod thunderbolt_net"
	answers "$peer"
fi
barrier end
