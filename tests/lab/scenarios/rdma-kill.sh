#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# 200 times kill -9 of users at work, and of some that have hardly begun, at random moments and from either side: everything they held goes
# away, and others, who check every byte, work on.
# Arguments: KILLS SEED.
# lab@7.3: --hosts 1 --rails 0 --smp 2 --timeout 500
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/users.sh

kills=${1-$(rounds 200)}
RANDOM=${2-20}
at_once=4

# Kilobytes of kernel memory in use that a leak per killed user would make grow.
kernel_memory() { awk '/^(SUnreclaim|VmallocUsed|Percpu):/ { sum += $2 } END { print sum }' /proc/meminfo; }
pinned_pages() {
	cat /proc/sys/vm/stat_refresh # or what each CPU has counted would be missing
	awk '/^nr_foll_pin_acquired|^nr_foll_pin_released/ { n[$1] = $2 } END { print n["nr_foll_pin_acquired"] - n["nr_foll_pin_released"] }' /proc/vmstat
}

# A user that nobody has killed must not end. (Upstream's connections break at times, under load.)
check_alive() {
	users_alive "$1" && return
	echo "user $1 ended by itself: $(tail -n 5 "/tmp/user.$1".*)"
	[ "$LAB_RDMA" = rxe ] || fail "user $1 ended by itself"
}

kill_one() {
	local sides=(server client both)
	check_alive "$1"
	users_kill KILL "${sides[RANDOM % 3]}" "$1"
	killed=$((killed + 1))
}

# A user that is killed anywhere between its first line and its first message.
kill_newborn() {
	local pid
	/checkout/out/hostile/honest "$1" "$rdma_dev" "$rdma_gid" 1000 "$RANDOM" >/dev/null 2>&1 </dev/null &
	pid=$!
	disown
	sleep "0.$((RANDOM % 6))$((RANDOM % 10))"
	kill -KILL "$pid" || fail "a $1 user ended by itself before it was killed"
	newborn=$((newborn + 1))
}

# Nobody is left: so must be nothing that they held.
nothing_left() {
	local tries
	for ((tries = 0; tries < 300; tries++)); do
		[ "$(rdma_resources)" = "$resources" ] && [ "$(pinned_pages)" = "$pinned" ] && break
		sleep 0.1
	done
	echo "$SECONDS s: $killed killed at work, $newborn before: $(rdma_resources), $(kernel_memory) kB, $(pinned_pages) pinned pages"
	[ "$tries" -lt 300 ] || {
		rdma resource show qp dev "$rdma_dev"
		rdma resource show cm_id dev "$rdma_dev"
		fail "after $killed kills something is left; it was: $resources, $pinned pinned pages"
	}
}

rdma_up
rdma_works || fail "it does not work to begin with"
# These two are not killed.
declare -A spared
for kind in rc srq; do
	nice /checkout/out/hostile/honest $kind "$rdma_dev" "$rdma_gid" 100000 "$RANDOM" >"/lab/honest.$kind" 2>&1 &
	spared[$kind]=$!
	lab wait 30 grep -q ready "/lab/honest.$kind" || fail "honest $kind does not begin: $(<"/lab/honest.$kind")"
done
resources=$(rdma_resources) pinned=$(pinned_pages) killed=0 newborn=0
nothing_left

number=0
while [ "$killed" -lt "$kills" ]; do
	# Batches of 20: in each, most kinds that are cheap to start, a few of the others.
	for ((batch = 0; batch < 20; batch++, number++)); do
		if [ $((number % 5)) = 4 ]; then
			users_start "$number" "${users_kinds[5 + number / 5 % 8]}"
		else
			users_start "$number" "${users_kinds[number % 5 + number / 20 % 2]}"
		fi
		sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
		[ $((number % 5)) != 2 ] || kill_newborn "${users_kinds[number / 5 % 5]}"
		if [ "$batch" -ge "$at_once" ]; then
			kill_one $((number - at_once))
			users_end $((number - at_once))
		fi
	done
	for ((user = number - at_once; user < number; user++)); do
		kill_one "$user"
	done
	for ((user = number - at_once; user < number; user++)); do
		users_end "$user"
	done
	nothing_left
	# The first batch fills caches of the kernel.
	[ "$number" != 20 ] || memory=$(kernel_memory)
done

rdma_works || fail "it does not work any more"
for kind in "${!spared[@]}"; do
	kill -TERM "${spared[$kind]}"
	wait "${spared[$kind]}" || [ "$LAB_RDMA" = rxe ] || fail "honest $kind was disturbed: $(<"/lab/honest.$kind")"
	echo "honest $kind: $(tail -n 1 "/lab/honest.$kind")"
done
grown=$(($(kernel_memory) - memory))
lab result kernel_memory_growth_kB "$grown"
[ "$grown" -lt 8192 ] || fail "the kernel's memory grew by $grown kB over $killed kills"
rdma_down
