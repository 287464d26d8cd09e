#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# 200 times kill -9 of users at work, at random moments and from either side: everything they held goes away, and others work on.
# lab: --hosts 1 --rails 0 --smp 2 --timeout 500
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/users.sh

kills=${1-200}
RANDOM=${2-$((LAB_BOOT + 20))}

# Kilobytes of kernel memory in use that a leak per killed user would make grow.
kernel_memory() { awk '/^(SUnreclaim|VmallocUsed|Percpu):/ { sum += $2 } END { print sum }' /proc/meminfo; }
pinned_memory() { awk '/^nr_foll_pin_acquired|^nr_foll_pin_released/ { n[$1] = $2 } END { print n["nr_foll_pin_acquired"] - n["nr_foll_pin_released"] }' /proc/vmstat; }
baseline() { [ "$(rdma_resources)" = "$resources" ]; }

rdma_up
rdma_works || fail "it does not work to begin with"
resources=$(rdma_resources)
pinned=$(pinned_memory)
echo "at the start: $resources, $(kernel_memory) kB, $pinned pinned pages"

killed=0 number=0 round=0
while [ "$killed" -lt "$kills" ]; do
	first=$number
	for ((; number < first + 8; number++)); do
		users_start "$number"
	done
	for ((user = first; user < number; user++)); do
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		users_alive "$user" || fail "user $user ended by itself: $(tail -n 5 "/tmp/user.$user".*)"
		case $((RANDOM % 3)) in
		0) users_kill KILL server "$user" ;;
		1) users_kill KILL client "$user" ;;
		2) users_kill KILL both "$user" ;;
		esac
		killed=$((killed + 1))
	done
	# Those whose other side was killed are of no more use.
	for ((user = first; user < number; user++)); do
		users_end "$user"
	done
	for ((tries = 0; tries < 200; tries++)); do
		baseline && break
		sleep 0.1
	done
	baseline || {
		rdma resource show qp dev "$rdma_dev"
		rdma resource show cm_id dev "$rdma_dev"
		fail "after $killed kills there is still: $(rdma_resources); it was: $resources"
	}
	round=$((round + 1))
	# The first round fills caches of the kernel.
	[ "$round" = 1 ] && memory=$(kernel_memory)
	[ $((killed % 40)) -ge 8 ] || echo "$killed killed: $(rdma_resources), $(kernel_memory) kB, $(pinned_memory) pinned pages"
done
rdma_works || fail "it does not work any more"
[ "$(pinned_memory)" = "$pinned" ] || fail "$(pinned_memory) pages are pinned, it were $pinned"
grown=$(($(kernel_memory) - memory))
lab result kernel_memory_growth_kB "$grown"
[ "$grown" -lt 8192 ] || fail "the kernel's memory grew by $grown kB over $killed kills"
rdma_down
