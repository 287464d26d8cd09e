#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Host 1 suspends its devices and resumes them (the kernel's own test of that): the rail is closed before and back after, under a ping.
# lab: --timeout 200
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
usb4_up
barrier up
answers "$peer"
index=$(</sys/class/net/$usb4_net/ifindex)
for round in 1 2; do
	ping -q -i 0.05 "$peer" >/dev/null &
	pinger=$!
	barrier "sleep $round"
	if [ "$LAB_HOST" = 1 ]; then
		# Devices are suspended, five seconds pass, they are resumed.
		echo devices >/sys/power/pm_test || fail "pm_test"
		echo freeze >/sys/power/state || fail "suspend"
		usb4_says "rail 0 is down, cable 0-1: closed"
	else
		lab wait 20 bash -c usb4_has_none || fail "carrier, though the peer sleeps"
	fi
	barrier "awake $round"
	lab wait 60 bash -c usb4_has_carrier || fail "no carrier after sleep"
	answers "$peer"
	kill $pinger
done
[ "$(</sys/class/net/$usb4_net/ifindex)" = "$index" ] || fail "it is another interface"
barrier end
