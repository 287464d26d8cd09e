#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Attackers write what they like into their mapped queues, a minute. The kernel does not mind, every attacker
# can be ended, and others on the same device, who check every byte, do not notice. Arguments: SECONDS, first SEED, attackers AT-ONCE.
# lab@7.2: --hosts 1 --rails 0 --smp 2 --timeout 300
# lab-rdma: usb4_rxe
. /checkout/tests/lab/guest/rdma.sh

seconds=${1-$((60 * (${LAB_LONG-0} * 2 + 1)))} seed=${2-$((0x$(head -c 4 /dev/urandom | od -An -tx4 | tr -d ' ')))} at_once=${3-2}
programs=/checkout/out/hostile

rdma_up
resources=$(rdma_resources)
echo "seed $seed; to repeat: tests/lab/run ... --script tests/lab/scenarios/rdma-hostile.sh $seconds $seed $at_once"

# The others begin before the attackers and end after them. They leave time to the attackers, of which there would be few else.
declare -A others
for kind in rc srq; do
	nice "$programs/honest" $kind "$rdma_dev" "$rdma_gid" $((seconds + 10)) "$seed" >"/lab/honest.$kind" 2>&1 &
	others[$kind]=$!
	lab wait 20 grep -q ready "/lab/honest.$kind" || fail "honest $kind does not begin: $(<"/lab/honest.$kind")"
done

"$programs/hostile" "$rdma_dev" "$rdma_gid" "$seconds" "$seed" "$at_once" >/lab/hostile 2>&1 &
hostile=$!
works=0
while kill -0 "$hostile" 2>/dev/null; do
	rdma_works || fail "a ping-pong was disturbed"
	works=$((works + 1))
	sleep 1
done
wait "$hostile" || fail "hostile: $(tail -n 5 /lab/hostile)"
tail -n 2 /lab/hostile
echo "$works ping-pongs meanwhile"
for kind in "${!others[@]}"; do
	wait "${others[$kind]}" || fail "honest $kind was disturbed: $(<"/lab/honest.$kind")"
	echo "honest $kind: $(tail -n 1 "/lab/honest.$kind")"
done

for ((tries = 0; tries < 200; tries++)); do
	[ "$(rdma_resources)" = "$resources" ] && break
	sleep 0.1
done
[ "$(rdma_resources)" = "$resources" ] || fail "left behind: $(rdma_resources); it was: $resources"
rdma_works || fail "it does not work any more"
rdma_down
