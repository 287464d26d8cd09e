#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# rdma_rxe and usb4_rxe on one host, each with a link and users: MTU changes, links that go down, netdevs that vanish, and rmmod of either.
# Whatever happens to one, the other's users, who check every byte, go on. (They share a driver id, since both use the stock library.)
# lab-long
# lab: --hosts 1 --rails 0 --smp 2 --timeout 400
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/users.sh

# With --rdma rxe both are upstream's: that proves the script. rmmod of one is left out then.
mine() { rdma_select "$LAB_RDMA" 0; }
theirs() { rdma_select rxe 1; }
alone=$([ "$LAB_RDMA" = rxe ] && echo no || echo yes)

# The users of each side: numbers 10 and 11 on ours, 20 and 21 on theirs.
start_users() { # SIDE
	"$1"
	rdma_gid=$(rdma_find_gid) || fail "$rdma_dev has no GID"
	case $1 in
	mine) users_start "${2-1}0" rc && users_start "${2-1}1" srq ;;
	theirs) users_start "${2-2}0" rc && users_start "${2-2}1" ud ;;
	esac
}
end_users() { # SIDE
	local tens=1
	[ "$1" = mine ] || tens=2
	users_end ${tens}0
	users_end ${tens}1
}
alive() { # SIDE WHEN
	local tens=1 user
	[ "$1" = mine ] || tens=2
	for user in ${tens}0 ${tens}1; do
		users_alive $user || fail "$2: user $user ($1) ended: $(tail -n 5 /tmp/user.$user.*)"
	done
}
works() { # SIDE WHEN
	"$1"
	rdma_wait_active
	rdma_works || fail "$2: $rdma_dev does not work"
}
other() { if [ "$1" = mine ]; then echo theirs; else echo mine; fi; }
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

for side in mine theirs; do
	$side
	[ -e "/sys/module/$rdma_module" ] || rdma_load
	rdma_net_up
	rdma_link_up
	works $side "at the start"
	start_users $side
done
rdma link

for side in mine theirs; do
	for mtu in 4200 1000 1500; do
		$side
		step "$side: MTU $mtu"
		ip link set "$rdma_net" mtu "$mtu" || fail "$rdma_net does not take MTU $mtu"
		sleep 0.3
		alive mine "MTU $mtu on $rdma_net"
		alive theirs "MTU $mtu on $rdma_net"
		works $side "MTU $mtu"
		works "$(other $side)" "MTU $mtu of the other"
	done
done

for side in mine theirs; do
	$side
	step "$side: link down"
	end_users $side
	ip link set "$rdma_net" down
	lab wait 20 grep -q DOWN "/sys/class/infiniband/$rdma_dev/ports/1/state" || fail "the port of $rdma_dev stays up"
	alive "$(other $side)" "link down on $rdma_net"
	works "$(other $side)" "link down on the other"
	$side
	ip link set "$rdma_net" up
	works $side "link up again"
	start_users $side
done

for side in mine theirs; do
	$side
	step "$side: netdev vanishes"
	end_users $side
	rdma_net_down
	lab wait 20 test ! -e "/sys/class/infiniband/$rdma_dev" || fail "$rdma_dev is still there without its netdev"
	alive "$(other $side)" "$rdma_net vanished"
	works "$(other $side)" "the other's netdev vanished"
	$side
	rdma_net_up
	rdma_link_up
	works $side "netdev back"
	start_users $side
done

if [ $alone = yes ]; then
	for round in 1 2 3; do
		step "rmmod usb4_rxe, round $round"
		end_users mine
		mine
		lab wait 20 rmmod usb4_rxe || fail "rmmod usb4_rxe"
		alive theirs "rmmod usb4_rxe"
		works theirs "rmmod usb4_rxe"
		mine
		rdma_load
		rdma_net_up
		rdma_link_up
		works mine "loaded again"
		start_users mine

		step "rmmod rdma_rxe, round $round"
		end_users theirs
		# It unregisters every device of its driver id, ours too, and waits for their users: those cannot stay.
		[ "$round" != 1 ] || end_users mine
		timeout 60 rmmod rdma_rxe &
		rmmod=$!
		sleep 2
		[ "$round" = 1 ] || end_users mine
		wait "$rmmod" || fail "rmmod rdma_rxe"
		works mine "rmmod rdma_rxe"
		theirs
		ip link delete "$rdma_net"
		start_users mine
		theirs
		rdma_load
		rdma_net_up
		rdma_link_up
		works theirs "loaded again"
		alive mine "modprobe rdma_rxe"
		start_users theirs
	done
fi

for side in mine theirs; do
	end_users $side
	$side
	rdma_link_down
	rdma_net_down
done
mine
rdma_unload
[ $alone = no ] || rmmod rdma_rxe || fail "rmmod rdma_rxe"
