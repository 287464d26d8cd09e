#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# usb4_rxe and upstream rdma_rxe on one host. They share a driver id, by which rdma_rxe finds, and unregisters, devices: neither touches
# the other's memory, both work on, and a device of ours that goes with rdma_rxe comes back.
# lab-long
# lab: --hosts 1 --rails 0 --smp 2 --timeout 300
. /checkout/tests/lab/guest/lib.sh

module=/lab/.lab/usb4_rxe.ko
modprobe -a ib_uverbs rdma_ucm || fail "modprobe"

# Each device has a network device and a subnet of its own.
ours_up() {
	ip link add usb4eth0 type usb4eth || fail "usb4eth0"
	sysctl -q -w net.ipv6.conf.usb4eth0.accept_dad=0
	ip address add 10.1.0.1/24 dev usb4eth0
	ip link set usb4eth0 up
	rdma link add usb4_rxe0 type usb4_rxe netdev usb4eth0 || fail "rdma link add usb4_rxe0"
	active usb4_rxe0
}
theirs_up() {
	modprobe rdma_rxe || fail "rdma_rxe"
	ip link add veth0 type veth peer name veth1 2>/dev/null && ip link set veth1 up
	ip address replace 10.2.0.1/24 dev veth0
	ip link set veth0 up
	rdma link add rxe0 type rxe netdev veth0 || fail "rdma link add rxe0"
	active rxe0
}
active() { lab wait 20 grep -q ACTIVE "/sys/class/infiniband/$1/ports/1/state" || fail "$1 is not active"; }

# gid DEVICE: the index of its GID of an IPv4 address.
gid() {
	local file
	file=$(grep -l '0000:0000:0000:0000:0000:ffff:0a0[12]' "/sys/class/infiniband/$1"/ports/1/gids/* 2>/dev/null | head -n 1)
	echo "${file##*/}"
}
export -f gid

# works DEVICE ADDRESS: data goes through it and arrives.
works() {
	lab wait 10 bash -c "[ -n \"\$(gid $1)\" ]" || fail "$1 has no GID"
	local options=(-d "$1" -g "$(gid "$1")" -n 50 -c) server
	ibv_rc_pingpong "${options[@]}" >/tmp/server 2>&1 &
	server=$!
	lab wait 10 sh -c "ss -Hltn 'sport = 18515' | grep -q ." || fail "$1: no server: $(</tmp/server)"
	timeout 30 ibv_rc_pingpong "${options[@]}" "$2" >/tmp/client 2>&1 || fail "$1 does not work: $(</tmp/client)"
	wait $server || fail "$1 does not work: $(</tmp/server)"
}
both_work() {
	works usb4_rxe0 10.1.0.1
	works rxe0 10.2.0.1
}

# What rdma_rxe's notifier does to devices of its driver id: sets their MTU, port state, counters.
shake() {
	local net mtu
	for net in usb4eth0 veth0; do
		for mtu in 1500 9000; do
			ip link set $net mtu $mtu || fail "$net mtu $mtu"
		done
		ip link set $net down
		ip link set $net name "${net}x" && ip link set "${net}x" name $net || fail "rename $net"
		ip link set $net up
	done
	active usb4_rxe0
	active rxe0
}

for order in "ours theirs" "theirs ours"; do
	echo "== $order"
	for side in $order; do
		"${side}_up"
	done
	both_work
	shake
	both_work
	# Ours alone goes and comes.
	rdma link delete usb4_rxe0 || fail "rdma link delete usb4_rxe0"
	works rxe0 10.2.0.1
	rdma link add usb4_rxe0 type usb4_rxe netdev usb4eth0 || fail "usb4_rxe0 again"
	active usb4_rxe0
	# Theirs alone goes and comes.
	rdma link delete rxe0 || fail "rdma link delete rxe0"
	works usb4_rxe0 10.1.0.1
	rdma link add rxe0 type rxe netdev veth0 || fail "rxe0 again"
	active rxe0
	both_work
	# Their module goes, and takes every device of the driver id along.
	rmmod rdma_rxe || fail "rmmod rdma_rxe"
	lab wait 20 sh -c 'dmesg | grep -c "usb4_rxe: the device is registered again" | grep -q -x '"$((${again-0} + 1))" || fail "ours did not come back"
	again=$((${again-0} + 1))
	active usb4_rxe0
	works usb4_rxe0 10.1.0.1
	# Ours goes under theirs.
	theirs_up
	both_work
	rmmod usb4_rxe || fail "rmmod usb4_rxe"
	[ ! -e /sys/class/infiniband/usb4_rxe0 ] || fail "usb4_rxe0 without a driver"
	works rxe0 10.2.0.1
	rmmod rdma_rxe || fail "rmmod rdma_rxe"
	insmod $module || fail "insmod"
done

echo "== rmmod of both at once, users on ours"
for round in 1 2 3 4 5; do
	ours_up
	theirs_up
	lab wait 10 bash -c '[ -n "$(gid usb4_rxe0)" ]' || fail "no GID"
	ib_send_bw -d usb4_rxe0 -x "$(gid usb4_rxe0)" --run_infinitely -D 1 >/tmp/server 2>&1 &
	server=$!
	lab wait 10 sh -c "ss -Hltn 'sport = 18515' | grep -q ." || fail "no server: $(</tmp/server)"
	ib_send_bw -d usb4_rxe0 -x "$(gid usb4_rxe0)" --run_infinitely -D 1 10.1.0.1 >/tmp/client 2>&1 &
	client=$!
	sleep 1
	case $((round % 3)) in
	0)
		rmmod rdma_rxe &
		other=$!
		rmmod usb4_rxe
		;;
	1)
		rmmod usb4_rxe &
		other=$!
		sleep 0.0$round
		rmmod rdma_rxe
		;;
	2)
		ip link delete usb4eth0 &
		other=$!
		rmmod rdma_rxe
		;;
	esac
	wait $other
	kill -9 $server $client 2>/dev/null
	wait $server $client 2>/dev/null
	lab wait 20 sh -c '! grep -q -w rdma_rxe /proc/modules' || fail "round $round: rdma_rxe is still there"
	lab wait 20 sh -c 'rmmod usb4_rxe 2>/dev/null; ! grep -q -w usb4_rxe /proc/modules' || fail "round $round: usb4_rxe is still there"
	insmod $module || fail "insmod"
done
rmmod usb4_rxe || fail "rmmod"
echo "all of it"
