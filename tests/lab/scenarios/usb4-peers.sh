#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Who is who: two cables between hosts with two host routers each, of which one has a single lane, are two rails of one device; the two
# ends of a cable within one host are two devices, which talk to each other. Routers have three rings, as in a Strix Halo.
# lab: --topology tests/lab/topologies/strix-halo.toml --mem 384 --timeout 200
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/usb4.sh

usb4_up
if [ "$LAB_HOST" = 3 ]; then
	devices="usb4_rxe0 usb4_rxe1" interfaces="usb4eth0 usb4eth1"
else
	devices=usb4_rxe0 interfaces=usb4eth0
	# What the core says of the cables, in Mb/s.
	core_speed() {
		local xdomain speed sum=0
		for xdomain in /sys/bus/thunderbolt/devices/[0-9]-[1-9]; do
			speed=$(<"$xdomain/tx_speed")
			sum=$((sum + $(<"$xdomain/tx_lanes") * ${speed%%.*} * 1000))
		done
		echo "$sum"
	}
	has_both() { [ "$(usb4_peers | grep -c '^  rail .: cable')" = 2 ] && [ "$(</sys/class/net/usb4eth0/speed)" = "$(core_speed)" ]; }
	export -f core_speed has_both usb4_peers
	lab wait 60 bash -c has_both || fail "not two cables of $(core_speed) Mb/s: $(usb4_peers)"
	# On the debug kernel, which is slow, the core may give up waiting for a second lane.
	[ "$LAB_KERNEL" = debug ] || [ "$(core_speed)" = 60000 ] || fail "two cables of 40 and 20 Gb/s: $(usb4_peers)"
fi
export devices interfaces
devices_are() { [ "$(cd /sys/class/infiniband && echo *)" = "$devices" ] && [ "$(cd /sys/class/net && echo usb4eth*)" = "$interfaces" ]; }
export -f devices_are
lab wait 60 bash -c devices_are || fail "$(rdma link; usb4_peers)"
# An RDMA device has the number of its interface, also when two peers come at the same time.
for interface in $interfaces; do
	number=${interface#usb4eth}
	lab wait 10 grep -qsx "$interface" /sys/class/infiniband/usb4_rxe"$number"/ports/1/gid_attrs/ndevs/0 || fail "usb4_rxe$number is not over $interface: $(rdma link)"
done
usb4_peers
barrier up

if [ "$LAB_HOST" = 3 ]; then
	[ "$(</sys/class/net/usb4eth0/address)" != "$(</sys/class/net/usb4eth1/address)" ] || fail "the same address twice"
	[ "$(usb4_peers | grep -c '^  rail 0: cable')" = 2 ] || fail "rails: $(usb4_peers)"
	# IP of one host is brought over a cable only between namespaces. An RDMA device stays in its own, so the second one is made anew.
	rdma_load
	rdma system set netns exclusive || fail "RDMA devices of a namespace of their own"
	ip netns add elsewhere
	ip link set usb4eth1 netns elsewhere
	ip -n elsewhere address add 10.0.0.33/24 dev usb4eth1
	ip -n elsewhere link set usb4eth1 up
	answers 10.0.0.33
	lab wait 20 [ ! -e /sys/class/infiniband/usb4_rxe1 ] || fail "an RDMA device without its interface"
	ip netns exec elsewhere rdma link add elsewhere0 type usb4_rxe netdev usb4eth1 || fail "no RDMA device elsewhere"
	export rdma_dev=elsewhere0 rdma_ip=10.0.0.33
	export -f rdma_find_gid
	lab wait 20 ip netns exec elsewhere bash -c rdma_find_gid >/dev/null || fail "no GID elsewhere"
	there=$(ip netns exec elsewhere bash -c rdma_find_gid)
	rdma_dev=usb4_rxe0 rdma_ip=10.0.0.3
	here=$(rdma_find_gid) || fail "no GID here"
	ip netns exec elsewhere ibv_rc_pingpong -d elsewhere0 -g "$there" -c -s 100000 -n 50 >/tmp/pingpong 2>&1 &
	server=$!
	lab wait 10 ip netns exec elsewhere sh -c "ss -Hltn 'sport = 18515' | grep -q ." || fail "nobody listens elsewhere: $(</tmp/pingpong)"
	ibv_rc_pingpong -d usb4_rxe0 -g "$here" -c -s 100000 -n 50 10.0.0.33 || fail "RDMA from end to end of a cable: $(</tmp/pingpong)"
	wait "$server" || fail "RDMA from end to end of a cable: $(</tmp/pingpong)"
	ip netns delete elsewhere
	lab wait 20 [ -e /sys/class/net/usb4eth1 ] || fail "usb4eth1 did not come back"
else
	[ "$(usb4_peers | grep -c '^  rail [01]: cable')" = 2 ] || fail "rails: $(usb4_peers)"
	answers 10.0.0.$((3 - LAB_HOST))
fi
barrier there
rmmod usb4_rxe || fail "rmmod"
[ -z "$(ls -d /sys/class/net/usb4eth* /sys/class/infiniband/usb4* 2>/dev/null)" ] || fail "devices without a driver"
barrier end
