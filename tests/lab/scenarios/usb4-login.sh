#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What may happen to a cable and to whoever is at its other end: pulled and plugged in, the module unloaded and loaded on one side at any
# moment, the host router taken away.
# lab@7.2: --timeout 240
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
usb4_up
barrier up
answers "$peer"
index=$(</sys/class/net/$usb4_net/ifindex)

echo "== pulled and plugged in, with a ping running"
for round in 1 2 3; do
	ping -q -i 0.02 "$peer" >/dev/null &
	pinger=$!
	barrier "pull $round"
	[ "$LAB_HOST" != 1 ] || lab fabric unplug 0
	lab wait 20 bash -c usb4_has_none || fail "round $round: carrier without a cable"
	unplugged=$((round - 1))
	lab wait 5 bash -c "[ \$(dmesg | grep -c 'usb4_rxe: .*rail 0 is down, cable .*: unplugged') -gt $unplugged ]" || fail "round $round: the kernel log does not say 'unplugged'"
	barrier "pulled $round"
	[ "$LAB_HOST" != 1 ] || lab fabric plug 0
	lab wait 60 bash -c usb4_has_carrier || fail "round $round: no carrier"
	answers "$peer"
	kill $pinger
done
[ "$(</sys/class/net/$usb4_net/ifindex)" = "$index" ] || fail "it is another interface"
barrier replugged

echo "== unloaded and loaded on one side"
for round in 1 2 3 4 5 6 7 8 9 10; do
	if [ "$LAB_HOST" = 1 ]; then
		rmmod usb4_rxe || fail "round $round: rmmod"
		usb4_gone || fail "round $round: devices without a driver"
		insmod "$usb4_module" || fail "round $round: insmod"
		# Anywhere between the first message and the carrier.
		sleep "0.$((round * 7 % 10))"
	fi
done
usb4_up
answers "$peer"
[ "$LAB_HOST" = 1 ] || [ "$(</sys/class/net/$usb4_net/ifindex)" = "$index" ] || fail "it is another interface"
barrier reloaded

echo "== unloaded on both sides at once"
for round in 1 2 3; do
	barrier "both $round"
	rmmod usb4_rxe || fail "round $round: rmmod"
	insmod "$usb4_module" || fail "round $round: insmod"
done
usb4_up
answers "$peer"
barrier both

echo "== the host router goes, and comes back"
# So many packets that whoever goes on with the numbers of before, when the other end does not, is found out.
ping -q -f -c 3000 "$peer" || fail "ping"
barrier counted
if [ "$LAB_HOST" = 2 ]; then
	usb4_unbind
	usb4_bind
else
	lab wait 30 bash -c usb4_has_none || fail "carrier without a peer"
fi
barrier unbound
came_back=yes
[ ! -e /lab/left-behind ] || came_back=no
[ "$LAB_HOST" != 2 ] || lab result came_back "$came_back"
if [ "$came_back" = yes ]; then
	usb4_up
	answers "$peer"
fi
barrier end
