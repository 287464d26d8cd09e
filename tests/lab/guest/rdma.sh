# SPDX-License-Identifier: GPL-2.0-only
# Shell functions for scripts that use an RDMA device:   . /checkout/tests/lab/guest/rdma.sh
#
# The device under test is ours, or upstream's with `tests/lab/run --rdma rxe`, so that both answer to the same scripts:
#
#   LAB_RDMA   usb4_rxe                          rxe
#   module     usb4_rxe                          rdma_rxe
#   netdev     usb4eth0 of our own               lab0, one end of a veth pair
#   device     usb4_rxe0                         rxe0
#
# One guest is enough: the device talks to itself, as 10.0.0.1. A script that wants more devices goes from one to the other
# with rdma_select.
. /checkout/tests/lab/guest/lib.sh

LAB_RDMA=${LAB_RDMA-usb4_rxe}

# rdma_select DRIVER [NUMBER]: what follows is about this driver's device number 0, 1, ...
rdma_select() {
	local number=${2-0}
	rdma_driver=$1
	case $rdma_driver in
	usb4_rxe) rdma_module=usb4_rxe rdma_net=usb4eth$number ;;
	rxe) rdma_module=rdma_rxe rdma_net=lab$number ;;
	*) fail "no RDMA driver '$rdma_driver': usb4_rxe or rxe" ;;
	esac
	rdma_dev=$rdma_driver$number
	rdma_ip=10.0.$number.$LAB_HOST
}
rdma_select "$LAB_RDMA"

# rdma_load: loads the driver and what gives user space access to it.
rdma_load() {
	modprobe -a ib_uverbs rdma_ucm || fail "cannot load ib_uverbs, rdma_ucm"
	case $rdma_driver in
	# The lab has loaded it already, unless the script has unloaded it since.
	usb4_rxe) [ -d /sys/module/usb4_rxe ] || insmod /lab/.lab/usb4_rxe.ko || fail "cannot load usb4_rxe.ko" ;;
	rxe) modprobe rdma_rxe || fail "cannot load rdma_rxe" ;;
	esac
}

# rdma_net_up: makes the netdev with its address.
rdma_net_up() {
	case $rdma_driver in
	usb4_rxe) ip link add "$rdma_net" type usb4eth || fail "cannot make $rdma_net" ;;
	rxe)
		ip link add "$rdma_net" type veth peer name "${rdma_net}peer" || fail "cannot make $rdma_net"
		ip link set "${rdma_net}peer" up
		;;
	esac
	# No duplicate address detection: an address is of use at once.
	sysctl -q -w "net.ipv6.conf.$rdma_net.accept_dad=0"
	ip address add "$rdma_ip/24" dev "$rdma_net"
	ip link set "$rdma_net" up
}

# rdma_link_up: makes the RDMA device on the netdev and waits until it can carry traffic. Sets rdma_gid, the index of the
# RoCEv2 GID of our IPv4 address.
rdma_link_up() {
	rdma link add "$rdma_dev" type "$rdma_driver" netdev "$rdma_net" || fail "cannot add $rdma_dev"
	rdma_wait_active
}

rdma_wait_active() {
	lab wait 30 grep -q ACTIVE "/sys/class/infiniband/$rdma_dev/ports/1/state" || fail "the port of $rdma_dev did not become active"
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		rdma_gid=$(rdma_find_gid) && return
		sleep 0.1
	done
	fail "$rdma_dev has no GID for $rdma_ip"
}

# rdma_find_gid [START]: prints the index of the RoCEv2 GID of our address, or of the first one that starts so; fails when there is none.
rdma_find_gid() {
	local port=/sys/class/infiniband/$rdma_dev/ports/1 gid file
	printf -v gid '0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x' ${rdma_ip//./ }
	for file in $(grep -l "^${1-$gid\$}" "$port"/gids/* 2>/dev/null); do
		file=${file##*/}
		[ "$(cat "$port/gid_attrs/types/$file" 2>/dev/null)" = "RoCE v2" ] && echo "$file" && return
	done
	return 1
}

# rdma_up: all of the above, for scripts that only want to use a device.
rdma_up() {
	rdma_load
	rdma_net_up
	rdma_link_up
	rdma link
}

# rdma_net_down, rdma_unload: the way back.
rdma_link_down() { rdma link delete "$rdma_dev" || fail "cannot delete $rdma_dev"; }
rdma_net_down() { ip link delete "$rdma_net" || fail "cannot delete $rdma_net"; }
rdma_unload() { rmmod "$rdma_module" || fail "cannot unload $rdma_module"; }

# rdma_down: everything goes, and must let itself be removed.
rdma_down() {
	rdma_link_down
	rdma_net_down
	rdma_unload
}

# rdma_resources: how many objects of each kind users and kernel hold on the device, in one line.
rdma_resources() { rdma resource show "$rdma_dev" | sed 's/^[0-9]*: //'; }

# rdma_works: a short ping-pong with checked data on the selected device; its output is shown when it fails.
rdma_works() {
	local options=(-d "$rdma_dev" -g "$rdma_gid" -p 18600 -n 20 -c -m 512) limit=$((30 * LAB_PATIENCE)) server
	timeout $limit ibv_rc_pingpong "${options[@]}" >/tmp/rdma_works.server 2>&1 &
	server=$!
	lab wait 10 sh -c "ss -Hltn 'sport = 18600' | grep -q ." &&
		timeout $limit ibv_rc_pingpong "${options[@]}" "$rdma_ip" >/tmp/rdma_works.client 2>&1 &&
		wait "$server" && return
	kill "$server" 2>/dev/null
	cat /tmp/rdma_works.*
	return 1
}
