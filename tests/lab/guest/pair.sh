# SPDX-License-Identifier: GPL-2.0-only
# Shell functions for scripts in which hosts talk to each other:   . /checkout/tests/lab/guest/pair.sh
#
# The device that leads to another host is ours, or upstream's with `tests/lab/run --rdma rxe`, so that both answer to the same scripts:
#
#   LAB_RDMA   usb4_rxe                               rxe
#   netdev     usb4ethN, there when a cable is        thunderboltN of thunderbolt_net
#   device     usb4_rxeN, there by itself             rxe0 on that netdev, added here
#   cables     all that lead to the host              the first one that does
#
# What pair_up sets is what tests/lab/guest/rdma.sh has for one host: rdma_dev, rdma_net, rdma_ip, rdma_gid; and pair_ip, the peer's.
# shellcheck source=/dev/null
. /checkout/tests/lab/guest/rdma.sh

# Bytes of the netdevs' MTU: room for a path MTU of 4096.
pair_mtu=${pair_mtu-9000}

# pair_devices HOST: the network devices that lead to that host.
pair_devices() {
	local xdomain device peer
	if [ "$LAB_RDMA" = rxe ]; then
		tbnet_devices "$1"
		return
	fi
	# A netdev of ours belongs to the host router, as PCI device, of one of its cables.
	tb_peers | while read -r xdomain peer; do
		[ "$peer" = "$1" ] || continue
		for device in /sys/class/net/usb4eth*/device; do
			[ "$(readlink -f "$device")" = "$(readlink -f "$(readlink -f "/sys/bus/thunderbolt/devices/$xdomain")/../../..")" ] || continue
			device=${device%/device}
			echo "${device##*/}"
		done
	done | sort -u
}

# pair_cables HOST: how many cables to that host the kernel sees.
pair_cables() { tb_peers | grep -c " $1\$"; }

pair_has_device() { [ -n "$(pair_devices "$1")" ]; }
pair_has_cables() { [ "$(pair_cables "$1")" = "$2" ]; }

# pair_rdma NETDEV: the RDMA device on a network device.
pair_rdma() { rdma -j link | jq -r --arg netdev "$1" '.[] | select(.netdev == $netdev) | .ifname' | head -n 1; }
pair_has_rdma() { [ -n "$(pair_rdma "$1")" ]; }
export -f pair_devices pair_cables pair_has_device pair_has_cables pair_rdma pair_has_rdma tb_peers tbnet_devices
export LAB_RDMA

# pair_load: loads the driver and what gives user space access to it.
pair_load() {
	case $LAB_RDMA in
	usb4_rxe) tb_load && rdma_load ;;
	rxe) tb_load thunderbolt_net && rdma_load ;;
	esac
}

# pair_up [HOST [NET]]: waits for the device towards HOST (the other one of two by default) and gives it the address
# 10.0.NET.$LAB_HOST; NET is 0 by default.
pair_up() {
	local host=${1-host$((3 - LAB_HOST))} net=${2-0}
	pair_load
	lab wait 60 bash -c "pair_has_device $host" || fail "no network device leads to $host"
	rdma_net=$(pair_devices "$host" | head -n 1)
	rdma_ip=10.0.$net.$LAB_HOST
	pair_ip=10.0.$net.${host#host}
	ip link set "$rdma_net" mtu "$pair_mtu" || fail "$rdma_net does not take MTU $pair_mtu"
	# No duplicate address detection: an address is of use at once.
	sysctl -q -w "net.ipv6.conf.$rdma_net.accept_dad=0"
	ip address replace "$rdma_ip/24" dev "$rdma_net"
	ip link set "$rdma_net" up
	if [ "$LAB_RDMA" = rxe ] && ! pair_has_rdma "$rdma_net"; then
		rdma link add "rxe$net" type rxe netdev "$rdma_net" || fail "cannot add rxe$net"
	fi
	lab wait 30 bash -c "pair_has_rdma $rdma_net" || fail "there is no RDMA device on $rdma_net: $(rdma link)"
	rdma_dev=$(pair_rdma "$rdma_net")
	rdma_wait_active
	echo "$rdma_dev on $rdma_net leads to $host"
}

# pair_all_rails [HOST [COUNT]]: waits until all cables to HOST carry traffic; COUNT is as many as this host has routers by default.
pair_all_rails() {
	local host=${1-host$((3 - LAB_HOST))} count=${2-$(lspci -d 1b36:4e48 | wc -l)}
	lab wait 60 bash -c "pair_has_cables $host $count" || fail "expected $count cables to $host: $(tb_peers | xargs)"
	[ "$LAB_RDMA" = rxe ] || lab wait 60 bash -c "pair_has_rails $rdma_net $count" || fail "expected $count rails on $rdma_net, its speed is $(cat "/sys/class/net/$rdma_net/speed")"
}

# pair_has_rails NETDEV COUNT: the speed of a netdev of ours is that of its rails together; here each has 40 Gb/s.
pair_has_rails() { [ "$(cat "/sys/class/net/$1/speed")" = $(($2 * 40000)) ]; }
export -f pair_has_rails

# pair_answers: waits until the peer answers a ping over the device.
pair_answers() { answers "$pair_ip" -I "$rdma_net"; }

# pair_pull CABLES HOST: pulls the cables to HOST in turn, at random moments, for a moment each, until pair_pull_end. Never the last one: the
# next is pulled when all rails are back. To be run in the background.
pair_pull() {
	local cable pulls=0 first=$RANDOM
	rm -f /tmp/stop
	while [ ! -e /tmp/stop ]; do
		# A moment at least: the rails have to be back at the other end as well.
		sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
		cable=$(((first + pulls) % $1))
		lab fabric unplug "$cable" || return
		sleep "$((RANDOM % 2)).$((RANDOM % 10))"
		lab fabric plug "$cable" || return
		pair_all_rails "$2" "$1" || return
		pulls=$((pulls + 1))
	done
	echo "$pulls" >/tmp/pulls
}

# pair_pull_end PID LEAST: ends the pair_pull that runs as PID; it must have pulled so many times.
pair_pull_end() {
	touch /tmp/stop
	wait "$1" || fail "pulling went wrong"
	lab result pulls "$(</tmp/pulls)"
	[ "$(</tmp/pulls)" -ge "$2" ] || fail "$(</tmp/pulls) pulls are too few"
}
