#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Host 2 loses its power under traffic: host 1 keeps its devices, without carrier. Host 2 boots again: the same interface, with a carrier.
# lab@7.3: --timeout 200
. /checkout/tests/lab/guest/usb4.sh

usb4_up
if [ "$LAB_HOST" = 1 ]; then
	answers host2
	index=$(</sys/class/net/$usb4_net/ifindex)
	ping -q -i 0.02 host2 >/dev/null &
	pinger=$!
	sleep 1
	lab kill 2
	lab wait 30 bash -c usb4_has_none || fail "carrier without a peer"
	lab wait 10 bash -c 'usb4_state DOWN' || fail "the RDMA port is $(cat /sys/class/infiniband/$usb4_dev/ports/1/state)"
	lab boot 2
	lab wait 100 bash -c usb4_has_carrier || fail "no carrier"
	answers host2
	lab wait 10 bash -c 'usb4_state ACTIVE' || fail "the RDMA port is $(cat /sys/class/infiniband/$usb4_dev/ports/1/state)"
	[ "$(</sys/class/net/$usb4_net/ifindex)" = "$index" ] || fail "it is another interface"
	kill $pinger
fi
# Host 2 comes here in its second life only: the first one ends before the barrier opens.
barrier end
[ "$LAB_HOST" = 1 ] || [ "$LAB_BOOT" = 2 ] || fail "host 2 was to be restarted"
