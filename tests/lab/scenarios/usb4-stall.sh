#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Cables that are in and carry nothing, under RDMA load. One of two: its traffic moves to the other one, and no byte or completion is lost.
# Both, with the memory of programs in frames that do not leave: whoever is killed then gets its memory back, and ends.
# lab@7.3: --rails 2 --mem 768 --timeout 300
. /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/usb4.sh

stalled=$((8 * LAB_PATIENCE)) # seconds
peer=host$((3 - LAB_HOST))

pair_up
barrier up
pair_answers
pair_all_rails

echo "== one of two"
soak_both+=(--may-lose)
check_time=$((100 * LAB_PATIENCE))
soak_meanwhile one $((3 * LAB_PATIENCE)) "lab fabric fault 1 stall=on && sleep $stalled && lab fabric fault 1 stall=off"
soak one --rc 16 --uc 4 --ud 4 --timeout 17 --seconds $((stalled + 8 * LAB_PATIENCE))
soak_meanwhile_end
if [ "$LAB_HOST" = 1 ]; then
	lab result longest_pause_ms "$(soak_pause one)"
	[ "$(soak_pause one)" -lt $((stalled * 500)) ] || fail "traffic waited $(soak_pause one) ms for a cable that stalled"
fi
figure given_up $(($(usb4_rail lives given_up 0) + $(usb4_rail lives given_up 1)))
barrier counted
[ $(($(theirs given_up) + $(<"/lab/given_up.$LAB_HOST"))) -ge 1 ] || fail "nobody gave the rail up: $(usb4_peers)"
pair_all_rails

echo "== both, and the users are killed"
load=(ib_write_bw -d "$rdma_dev" -x "$rdma_gid" -F -s 1048576 -q 4 -u 20 --run_infinitely -D 1)
before=$(ethtool -S "$rdma_net" | awk '$1 == "wire_tx_lent:" { print $2 }')
resources=$(rdma_resources)
if [ "$LAB_HOST" = 2 ]; then
	"${load[@]}" -b >/tmp/load 2>&1 &
	user=$!
	lab wait 10 bash -c "$(listens_tcp 18515)" || fail "nobody takes the load"
	barrier "load listens"
else
	barrier "load listens"
	"${load[@]}" -b "$pair_ip" >/tmp/load 2>&1 &
	user=$!
fi
lends() { [ "$(ethtool -S "$rdma_net" | awk '$1 == "wire_tx_lent:" { print $2 }')" -gt $((before + 100)) ]; }
export -f lends
export rdma_net before
lab wait 60 bash -c lends || fail "no memory is lent: $(</tmp/load)"
barrier loaded
[ "$LAB_HOST" != 1 ] || lab fabric fault all stall=on || fail "no fault"
barrier "all stalled"
sleep 0.5
kill -0 "$user" || fail "the user ended by itself: $(</tmp/load)"
kill -KILL "$user"
since=$SECONDS
while kill -0 "$user" 2>/dev/null; do
	[ $((SECONDS - since)) -lt $((20 * LAB_PATIENCE)) ] || fail "killed, and there after $((SECONDS - since)) s: $(cat "/proc/$user/stack")"
	sleep 0.1
done
lab result "seconds_to_end_$LAB_HOST" $((SECONDS - since))
[ "$(rdma_resources)" = "$resources" ] || fail "left behind: $(rdma_resources); it was: $resources"
barrier killed
[ "$LAB_HOST" != 1 ] || lab fabric fault all stall=off || fail "no fault"
lab wait 60 bash -c "ping -q -c 1 -W 1 $pair_ip >/dev/null" || fail "$peer does not answer: $(usb4_peers)"
pair_all_rails
# Some rail may just be given up, or begin anew, after a stall of all.
soak_both=(--hang $((30 * LAB_PATIENCE)) --may-lose)
soak again --rc 8 --uc 2 --ud 2 --seconds 5
across_end
