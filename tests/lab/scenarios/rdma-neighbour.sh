#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# rdma_rxe and usb4_rxe on one host, loaded in either order, each with a link and users who check every byte: MTU changes, links that
# go down, netdevs that vanish, rmmod of either, rmmod of both at once. Whatever happens to one, the other's users go on. (They share a
# driver id, by which rdma_rxe finds, and unregisters, devices: a device of ours that goes with rdma_rxe comes back.)
# lab@7.2: --hosts 1 --rails 0 --smp 2 --timeout 400
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/users.sh

# With --rdma rxe both are upstream's: that proves the script. What takes a module away is left out then.
mine() { rdma_select "$LAB_RDMA" 0; }
theirs() { rdma_select rxe 1; }
alone=$([ "$LAB_RDMA" = rxe ] && echo no || echo yes)

# The users of each side: numbers 10 and 11 on ours, 20 and 21 on theirs.
start_users() { # SIDE
	"$1"
	rdma_gid=$(rdma_find_gid) || fail "$rdma_dev has no GID"
	case $1 in
	mine) users_start 10 rc && users_start 11 srq ;;
	theirs) users_start 20 rc && users_start 21 ud ;;
	esac
}
numbers() { [ "$1" = mine ] && echo 10 11 || echo 20 21; }
end_users() { # SIDE
	local user
	for user in $(numbers "$1"); do
		users_end "$user"
	done
}
alive() { # SIDE WHEN
	local user
	for user in $(numbers "$1"); do
		users_alive "$user" || fail "$2: user $user ($1) ended: $(tail -n 5 /tmp/user."$user".*)"
	done
}
works() { # SIDE WHEN
	"$1"
	rdma_wait_active
	rdma_works || fail "$2: $rdma_dev does not work"
}
other() { if [ "$1" = mine ]; then echo theirs; else echo mine; fi; }
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
up() { # SIDE
	"$1"
	rdma_load
	ip link show "$rdma_net" >/dev/null 2>&1 || rdma_net_up
	rdma_link_up
}
came_back() { dmesg | grep -c "usb4_rxe: the device is registered again"; }
export -f came_back

# What happens to the links of one side.
shake() { # SIDE
	local side=$1 mtu
	for mtu in 4200 1000 1500; do
		$side
		step "$side: MTU $mtu"
		ip link set "$rdma_net" mtu "$mtu" || fail "$rdma_net does not take MTU $mtu"
		sleep 0.2
		alive mine "MTU $mtu on $rdma_net"
		alive theirs "MTU $mtu on $rdma_net"
	done
	works "$side" "MTU $mtu"
	works "$(other "$side")" "MTU of the other"

	end_users "$side"
	$side
	step "$side: down, another name, up"
	ip link set "$rdma_net" down
	lab wait 20 grep -q DOWN "/sys/class/infiniband/$rdma_dev/ports/1/state" || fail "the port of $rdma_dev stays up"
	ip link set "$rdma_net" name renamed && ip link set renamed name "$rdma_net" || fail "rename $rdma_net"
	alive "$(other "$side")" "$rdma_net down"
	ip link set "$rdma_net" up
	works "$side" "up again"

	step "$side: the RDMA device goes"
	rdma_link_down
	works "$(other "$side")" "$rdma_dev deleted"
	$side
	rdma_link_up
	step "$side: its netdev goes"
	rdma_net_down
	lab wait 20 test ! -e "/sys/class/infiniband/$rdma_dev" || fail "$rdma_dev is still there without its netdev"
	alive "$(other "$side")" "$rdma_net vanished"
	up "$side"
	works "$side" "netdev back"
	start_users "$side"
}

# With lockdep each socket of an upstream queue pair holds rdma_rxe (sk_owner_set), that of a link's own GSI queue pair too: as long
# as there is a link, the module cannot go.
release_theirs() {
	[ ! -e /proc/lockdep ] || (theirs && rdma_link_down)
}

# Their module goes, and takes every device of the driver id along.
unload_theirs() { # whether users stay on ours meanwhile, killed two seconds later: it waits for them
	local before rmmod
	before=$(came_back)
	step "rmmod rdma_rxe, users on ours: $1"
	end_users theirs
	release_theirs
	# A name with a % is one that the core would read as a pattern: it comes back as what we would have called it.
	[ "$1" = yes ] || { end_users mine && mine && rdma dev set "$rdma_dev" name 'odd%s' || fail "rename"; theirs; }
	# What its users held is let go of a moment after they end.
	timeout $((60 * LAB_PATIENCE)) bash -c 'until rmmod rdma_rxe 2>/dev/null; do [ -e /sys/module/rdma_rxe ] || exit 0; sleep 0.2; done' &
	rmmod=$!
	[ "$1" = no ] || { sleep 2 && end_users mine; }
	wait "$rmmod" || fail "rmmod rdma_rxe"
	lab wait 20 bash -c "[ \$(came_back) -gt $before ]" || fail "ours did not come back"
	works mine "rmmod rdma_rxe"
	theirs
	ip link delete "$rdma_net"
}

unload_mine() {
	step "rmmod usb4_rxe"
	end_users mine
	mine
	lab wait 20 rmmod usb4_rxe || fail "rmmod usb4_rxe"
	[ ! -e "/sys/class/infiniband/$rdma_dev" ] || fail "$rdma_dev without a driver"
	alive theirs "rmmod usb4_rxe"
	works theirs "rmmod usb4_rxe"
}

users_stay=yes
for order in "mine theirs" "theirs mine"; do
	step "== loaded first, then second: $order"
	for side in $order; do
		up "$side"
		start_users "$side"
	done
	rdma link
	shake mine
	shake theirs
	[ $alone = yes ] || break
	unload_theirs $users_stay
	users_stay=no
	start_users mine
	up theirs
	start_users theirs
	alive mine "modprobe rdma_rxe"
	unload_mine
	end_users theirs
	theirs
	rdma_down
	# The debug kernel takes minutes for it.
	[ "$LAB_PATIENCE" = 1 ] || break
done
[ $alone = yes ] || exit 0

# Whoever comes first: users on ours are there, and end with errors.
for round in $(seq $((LAB_PATIENCE > 1 ? 3 : 5))); do
	step "rmmod of both at once, round $round"
	up mine
	start_users mine
	up theirs
	release_theirs
	mine
	case $((round % 3)) in
	0)
		rmmod rdma_rxe &
		second=$!
		rmmod usb4_rxe
		;;
	1)
		rmmod usb4_rxe &
		second=$!
		sleep 0.0$round
		rmmod rdma_rxe
		;;
	2)
		ip link delete "$rdma_net" &
		second=$!
		rmmod rdma_rxe
		;;
	esac
	wait $second
	end_users mine
	lab wait 20 sh -c '! grep -q -w rdma_rxe /proc/modules' || fail "round $round: rdma_rxe is still there"
	lab wait 20 sh -c 'rmmod usb4_rxe 2>/dev/null; ! grep -q -w usb4_rxe /proc/modules' || fail "round $round: usb4_rxe is still there"
done
