#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What `make demo` runs in both guests: two machines, two cables, and what usb4_rxe makes of them.
. /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/capture.sh
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
declare -A figures

# step TEXT: a heading, when both hosts are there.
step() {
	barrier step
	[ "$LAB_HOST" != 1 ] || lab log "-- $*"
}
says() { [ "$LAB_HOST" != 1 ] || echo "$*"; }

# measure NAME COLUMN UNIT PROGRAM OPTIONS...
measure() {
	local name=$1 column=$2 unit=$3 program=$4
	shift 4
	check_listens=$(listens_tcp 18515)
	across measurement "$program" -d "$rdma_dev" -x "$rdma_gid" -F "$@" -- "$program" -d "$rdma_dev" -x "$rdma_gid" -F "$@" "$pair_ip" >/tmp/said
	[ -z "$checks_failed" ] || fail "$(</tmp/said)"
	[ "$LAB_HOST" = 1 ] || return 0
	figures[$name]=$(awk -v column="$column" -v unit="$unit" '$1 ~ /^[0-9]+$/ && NF >= 5 { value = $column }
		END { printf "%.1f", unit == "MB/s" ? value * 1.048576 : value }' /lab/output/measurement)
	awk "BEGIN { exit !(${figures[$name]} > 0) }" || fail "$program says no figure: $(</lab/output/measurement)"
	echo "$program $* on $rdma_dev: ${figures[$name]} $unit"
}
bandwidth() { measure "$1" 4 MB/s ib_write_bw -s 1048576 -n "$2"; }
latency() { measure "$1" 5 us ib_write_lat -s 64 -n 500; }

driver() {
	LAB_RDMA=$1
	rdma_select "$1"
}

says "Linux $(uname -r), the distribution's own kernel and thunderbolt.ko; the cables and host routers are virtual:"
tb_load
lspci -d 1b36:4e48 | sed "s/^/PCI /"

step "The kernel's own way: rdma_rxe over thunderbolt_net, one cable"
rmmod usb4_rxe || fail "rmmod usb4_rxe"
[ "$LAB_HOST" != 1 ] || lab fabric unplug 1
driver rxe
pair_up
barrier upstream
pair_answers
bandwidth upstream-bw 30
latency upstream-lat
rdma link delete "$rdma_dev"
rmmod rdma_rxe thunderbolt_net || fail "rmmod rdma_rxe thunderbolt_net"

step "usb4_rxe is loaded; nothing else is done"
insmod /lab/.lab/usb4_rxe.ko || fail "insmod usb4_rxe.ko"
driver usb4_rxe
lab wait 60 bash -c "pair_has_device $peer" || fail "no device leads to $peer"
lab wait 30 bash -c "rdma link | grep -q usb4_rxe" || fail "no RDMA device"
rdma link
dmesg | grep "usb4_rxe: usb4eth" | tail -n 2

step "ib_write_bw and ib_write_lat over one cable"
pair_up >/dev/null
barrier one
pair_answers
bandwidth one-bw 200
latency one-lat

step "A second cable: the same device becomes faster (cables of 25 MB/s each, so that there is something to gain)"
[ "$LAB_HOST" != 1 ] || lab fabric fault all cap=25MB
barrier capped
bandwidth one-capped 40
[ "$LAB_HOST" != 1 ] || lab fabric plug 1
pair_all_rails "$peer" 2
says "usb4eth0 has $(<"/sys/class/net/$rdma_net/speed") Mb/s now"
barrier two
bandwidth two-capped 80
[ "$LAB_HOST" != 1 ] || lab fabric fault all cap=0
barrier uncapped
latency two-lat

step "A cable is pulled under load, and plugged in again: 16 queue pairs, random operations both ways, every byte checked"
lives() { echo $(($(usb4_rail lives begun 0) + $(usb4_rail lives begun 1))); }
lives_before=$(lives)
soak_meanwhile pulled 2 "lab fabric unplug 0 && sleep 2 && lab fabric plug 0"
soak pulled --rc 16 --seconds 10 --timeout 17 --largest 1048576 >/tmp/said
cat /tmp/said
[ -z "$checks_failed" ] || fail "data or completions were lost"
soak_meanwhile_end
dmesg | grep "usb4_rxe: usb4eth" | tail -n 2
pair_all_rails "$peer" 2
[ "$(lives)" -gt "$lives_before" ] || fail "the driver saw no cable go: $(usb4_peers)"

step "The wire is RoCEv2: tcpdump, tshark, and every ICRC computed anew"
if [ "$LAB_HOST" = 1 ]; then
	capture /tmp/wire.pcap -B 16384 -s 0 "udp port 4791"
fi
barrier capturing
check_listens=$(listens_tcp 18600)
across pingpong ibv_rc_pingpong -d "$rdma_dev" -g "$rdma_gid" -p 18600 -n 20 -c -s 9000 -- ibv_rc_pingpong -d "$rdma_dev" -g "$rdma_gid" -p 18600 -n 20 -c -s 9000 "$pair_ip" >/tmp/said
[ -z "$checks_failed" ] || fail "$(</tmp/said)"
if [ "$LAB_HOST" = 1 ]; then
	capture_end >/dev/null
	cp /tmp/wire.pcap /lab/wire.pcap
	tshark -r /tmp/wire.pcap --disable-protocol rpcordma -c 6 2>/dev/null | tee /tmp/decoded
	[ "$(grep -c " RRoCE .* RC " /tmp/decoded)" = 6 ] || fail "tshark decodes something else"
	/checkout/out/capture/capture /tmp/wire.pcap >/tmp/capture || fail "$(</tmp/capture)"
	tail -n 1 /tmp/capture
fi

step "Summary"
if [ "$LAB_HOST" = 1 ]; then
	ratio() { awk "BEGIN { printf \"%.1f\", $1 / $2 }"; }
	row() { printf '  %-44s %12s %12s   %s\n' "$@"; }
	row "" "usb4_rxe" "rdma_rxe" ""
	row "RDMA WRITE of 1 MiB, one cable" "${figures[one-bw]} MB/s" "${figures[upstream-bw]} MB/s" "$(ratio "${figures[one-bw]}" "${figures[upstream-bw]}") times as fast"
	row "RDMA WRITE of 64 bytes, latency, one cable" "${figures[one-lat]} us" "${figures[upstream-lat]} us" "$(ratio "${figures[upstream-lat]}" "${figures[one-lat]}") times as quick"
	row "the same, two cables" "${figures[two-lat]} us" "-" ""
	row "cables of 25 MB/s: one" "${figures[one-capped]} MB/s" "-" ""
	row "cables of 25 MB/s: two, one queue pair" "${figures[two-capped]} MB/s" "-" "$(ratio "${figures[two-capped]}" "${figures[one-capped]}") times one"
	row "a cable pulled under load" "nothing lost" "-" "longest pause $(soak_pause pulled) ms"
	row "on the wire" "RoCEv2" "RoCEv2" "$(sed -n 's/.* frames, \([0-9]*\) RoCEv2 packets .*/\1 packets, every ICRC right/p' /tmp/capture)"
	echo "  ($SECONDS seconds since the hosts had booted.)"
	echo "  (rdma_rxe: over thunderbolt_net, path MTU 4096. Guests are emulated or share CPUs: only the ratios mean something.)"
fi
barrier end
