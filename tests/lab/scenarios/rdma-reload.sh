#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The module loads and unloads 20 times, with users coming and going, by every way out: users, link, network device or module first.
# lab@7.2: --hosts 1 --rails 0 --smp 2 --timeout 500
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/users.sh

# Two to four users of the kinds that round would have.
start_users() {
	local user
	users=()
	for ((user = $1 * 3; user < $1 * 3 + 2 + $1 % 3; user++)); do
		users_start "$user" "${users_kinds[user % ${#users_kinds[@]}]}"
		users+=("$user")
	done
}

end_users() {
	local user
	for user in "${users[@]}"; do
		users_end "$user"
	done
}

gone() { [ ! -e "/sys/module/$rdma_module" ] && [ ! -e "/sys/class/infiniband/$rdma_dev" ]; }
export -f gone
export rdma_module rdma_dev

# Ours can be taken away from its users, as hardware can; upstream's stays as long as it has some.
ways=4
[ "$LAB_RDMA" = rxe ] || ways=5

for round in $(seq "${1-$(rounds 20)}"); do
	start=$SECONDS
	rdma_load
	ip link show "$rdma_net" >/dev/null 2>&1 || rdma_net_up
	rdma_link_up
	start_users "$round"
	sleep "0.$((RANDOM % 10))"
	[ "$LAB_RDMA" = usb4_rxe ] || ! rmmod "$rdma_module" 2>/dev/null || fail "round $round: rmmod took the module away from its users"
	for user in "${users[@]}"; do
		users_alive "$user" || fail "round $round: user $user ended: $(tail -n 3 "/tmp/user.$user".*)"
	done
	way=$((round % ways))
	case $way in
	0) # users first, then one step at a time
		end_users
		rdma_down
		;;
	1) # users first, then all at once
		end_users
		lab wait 20 rmmod "$rdma_module" || fail "round $round: rmmod"
		;;
	2) # the link goes while users are there, and has gone when they have
		timeout $((60 * LAB_PATIENCE)) rdma link delete "$rdma_dev" &
		delete=$!
		sleep 0.5
		end_users
		wait "$delete" || fail "round $round: rdma link delete under users"
		lab wait 20 rmmod "$rdma_module" || fail "round $round: rmmod"
		;;
	3) # the netdev goes while users are there
		timeout $((60 * LAB_PATIENCE)) ip link delete "$rdma_net" &
		delete=$!
		sleep 0.5
		end_users
		wait "$delete" || fail "round $round: ip link delete under users"
		lab wait 20 rmmod "$rdma_module" || fail "round $round: rmmod"
		;;
	4) # the module goes while users are there
		timeout $((60 * LAB_PATIENCE)) rmmod "$rdma_module" || fail "round $round: rmmod under users"
		end_users
		;;
	esac
	lab wait 20 bash -c gone || fail "round $round: $rdma_module or $rdma_dev is still there"
	echo "round $round: ${#users[@]} users, way $way, $((SECONDS - start)) s"
done
