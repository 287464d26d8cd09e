#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A host with two routers that was known by one of them boots again and comes first by the other one, then by both: it is one peer, with
# the device it had.
# lab@7.2: --topology tests/lab/topologies/strix-halo.toml --mem 384 --timeout 240
. /checkout/tests/lab/guest/usb4.sh

one_cable() { [ "$(tb_peers | wc -l)" = 1 ]; }
export -f one_cable tb_peers

# Host 3 is not needed.
[ "$LAB_HOST" != 3 ] || { barrier end && exit 0; }
if [ "$LAB_HOST" = 2 ]; then
	rmmod usb4_rxe || fail "rmmod"
	lab fabric unplug 1
	lab wait 30 bash -c one_cable || fail "two cables: $(tb_peers)"
	usb4_up
	answers host1
	index=$(</sys/class/net/$usb4_net/ifindex)
	[ "$(usb4_peers | grep -c 'host router')" = 1 ] || fail "more than one router is known: $(usb4_peers)"

	lab kill 1
	lab wait 30 bash -c usb4_has_none || fail "carrier without a peer"
	lab fabric unplug 0
	lab fabric plug 1
	lab boot 1
	lab wait 100 [ -e /sys/class/net/usb4eth1 ] || fail "the host behind the other router is nobody: $(usb4_peers)"

	lab fabric plug 0
	lab wait 60 [ ! -e /sys/class/net/usb4eth1 ] || fail "one host is two peers: $(usb4_peers)"
	lab wait 60 bash -c '[ "$(</sys/class/net/usb4eth0/speed)" = 60000 ]' || fail "both cables belong to one device: $(usb4_peers)"
	[ "$(</sys/class/net/$usb4_net/ifindex)" = "$index" ] || fail "it is another interface"
	[ "$(usb4_peers | grep -c 'host router')" = 2 ] || fail "two routers: $(usb4_peers)"
	answers host1
	ping -q -f -c 500 host1 || fail "packets are lost"
	lab wait 10 bash -c 'usb4_state ACTIVE' || fail "the RDMA port is $(cat /sys/class/infiniband/$usb4_dev/ports/1/state)"
else
	usb4_up
	answers host2
fi
# Host 1 comes here in its second life only: the first one ends before the barrier opens.
barrier end
[ "$LAB_HOST" = 2 ] || [ "$LAB_BOOT" = 2 ] || fail "host 1 was to be restarted"
