#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What perftest-scripts/compare runs in two guests joined by four cables: every way over a cable, one after the other in the same guests,
# so that figures can be compared. Figures go to figures.txt in the run's folder, one "name value" a line, a line for each measurement.
#
#   measure.sh [ROUNDS]     measurements of each kind (3)
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

rounds=${1-3}
peer=host$((3 - LAB_HOST))
size=1048576

figure() { [ "$LAB_HOST" != 1 ] || echo "$1 $2" >>/lab/figures.txt; }
step() { [ "$LAB_HOST" != 1 ] || printf '%4d s  %s\n' "$SECONDS" "$*"; }

# perf NAME COLUMN PROGRAM OPTIONS...: one measurement; its figure is in that column of perftest's table.
perf() {
	local name=$1 column=$2 program=$3
	shift 3
	check_listens=$(listens_tcp 18515)
	across "$name" "$program" -d "$rdma_dev" -x "$rdma_gid" -F "$@" -- "$program" -d "$rdma_dev" -x "$rdma_gid" -F "$@" "$pair_ip" >/tmp/said
	grep -v "^ok" /tmp/said
	[ "$LAB_HOST" != 1 ] || figure "$name" "$(awk -v column="$column" '
		$1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ && NF >= 5 { value = $column } END { print value }' "/lab/output/$name")"
}

# bandwidth NAME OPERATION COUNT: 1 MiB messages, in MiB/s, the average.
bandwidth() { perf "$1-$2" 4 "ib_$2_bw" -s $size -n "$3"; }

# rdma_all NAME COUNT: the three operations and the latency of a small write.
rdma_all() {
	local round operation
	for ((round = 0; round < rounds; round++)); do
		for operation in write read send; do
			bandwidth "$1" $operation "$2"
		done
		perf "$1-latency" 5 ib_write_lat -s 64 -n 1000
	done
}

# tcp NAME: one stream, in MB/s.
tcp() {
	local round
	check_listens=$(listens_tcp 5201)
	for ((round = 0; round < rounds; round++)); do
		across "$1" iperf3 -s -1 -- iperf3 -c "$pair_ip" -t 2 -J >/tmp/said
		grep -v "^ok" /tmp/said
		[ "$LAB_HOST" != 1 ] || figure "$1" "$(sed -n '/^{/,/^}/p' "/lab/output/$1" | jq '.end.sum_received.bits_per_second / 8e6')"
	done
}

# driver NAME: rdma.sh and pair.sh are about this one from now on.
driver() {
	LAB_RDMA=$1
	rdma_select "$1"
}

cables_are() { [ "$(tb_peers | wc -l)" = "$1" ]; }
export -f cables_are

# frames NAME OPERATION END: frames per 4 KiB of payload that come from that end of cable 0, control frames and all.
frames() {
	local before after count=200
	barrier counted
	before=$(lab fabric stats | jq ".cables[0].$3.frames")
	bandwidth "$1" "$2" $count
	after=$(lab fabric stats | jq ".cables[0].$3.frames")
	figure "$1-$2-frames" "$(awk "BEGIN { print ($after - $before) / ($count * $size / 4096) }")"
}

[ ! -e /sys/module/usb4_rxe ] || rmmod usb4_rxe || fail "rmmod usb4_rxe"
[ "$LAB_HOST" != 1 ] || for cable in 1 2 3; do lab fabric unplug $cable; done
barrier begin
tb_load
lab wait 60 bash -c "cables_are 1" || fail "expected one cable"

step "thunderbolt_net: TCP and upstream rxe, with Ethernet's MTU and with larger ones"
driver rxe
for mtu in 1500 9000; do
	pair_mtu=$mtu
	pair_up
	barrier "rxe $mtu"
	pair_answers
	rdma_all "rxe-$mtu" 40
	tcp "tcp-$mtu"
done
# The largest that thunderbolt_net takes; rxe makes no more of it.
ip link set "$rdma_net" mtu 65522 || fail "thunderbolt_net does not take MTU 65522"
barrier largest
tcp tcp-65522
rdma link delete "$rdma_dev"
ip link set "$rdma_net" down
barrier down
rmmod rdma_rxe thunderbolt_net || fail "rmmod rdma_rxe thunderbolt_net"
barrier unloaded

if modinfo thunderbolt-stream >/dev/null 2>&1; then
	step "USB4STREAM: bytes, without any protocol"
	. /checkout/tests/lab/guest/stream.sh
	stream_up
	for ((round = 0; round < rounds; round++)); do
		speed=$(stream_bandwidth 96) || fail "$speed"
		figure stream "$speed"
	done
	stream_down
fi

step "usb4_rxe, one cable"
driver usb4_rxe
pair_mtu=9000
pair_up
pair_all_rails "$peer" 1
barrier ours
pair_answers
rdma_all ours 200
tcp ours-tcp
frames ours write forward
frames ours read back

step "usb4_rxe, the fabric throttling its interrupts as thunderbolt_net asks for"
[ "$LAB_HOST" != 1 ] || for host in 1 2; do lab fabric throttle "$host.0" 128us; done
barrier throttled
for ((round = 0; round < rounds; round++)); do
	perf ours-throttled-latency 5 ib_write_lat -s 64 -n 500
	bandwidth ours-throttled write 200
done
[ "$LAB_HOST" != 1 ] || for host in 1 2; do lab fabric throttle "$host.0" 0; done

# A speed of which this machine can fill four: an eighth of what it moved over one cable that has no limit.
if [ "$LAB_HOST" = 1 ]; then
	awk '$1 == "ours-write" { cap = int($2 * 1.048576 / 8) } END { print cap < 1 ? 1 : cap }' /lab/figures.txt >/lab/cap
	lab fabric fault all "cap=$(</lab/cap)MB"
fi
barrier capped
cap=$(</lab/cap)
figure cap "$cap"
rails=1
for count in 1 2 4; do
	step "usb4_rxe, $count cable(s) of $cap MB/s each, one QP"
	while [ $rails -lt $count ]; do
		[ "$LAB_HOST" != 1 ] || lab fabric plug $rails
		rails=$((rails + 1))
	done
	pair_all_rails "$peer" $count
	barrier "$count rails"
	for ((round = 0; round < rounds; round++)); do
		for operation in write read; do
			bandwidth "ours-$count-capped" $operation $((cap * count * 2))
		done
	done
done
[ -z "$checks_failed" ] || fail "measurements that failed:$checks_failed"
barrier end
