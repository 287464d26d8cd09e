#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The other end of the cable breaks the handshake (tests/hostile-peer, on host 2): another version, nothing offered, a rail without frames,
# odd HopIDs and rings, random messages. Host 1 says what is wrong, not too often, and works as before with the next good peer.
# lab@7.3: --mem 512 --timeout 300
. /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/usb4.sh

# hostile MODE SECONDS: host 2 is like that for so long; host 1 goes on.
hostile() {
	barrier "before $1"
	if [ "$LAB_HOST" = 2 ]; then
		insmod "/checkout/out/hostile-peer/$LAB_KERNEL/hostile_peer.ko" mode="$1" pause_ms=$((20 * LAB_PATIENCE)) || fail "insmod hostile_peer.ko"
		lab wait $((20 * LAB_PATIENCE)) sh -c "dmesg | grep -q 'hostile_peer: at the other end of .*, $1'" || fail "$1: no cable to be hostile at"
	fi
	barrier "$1"
	sleep "$2"
}
# hostile_ends MODE: and then it goes.
hostile_ends() {
	barrier "after $1"
	if [ "$LAB_HOST" = 2 ]; then
		timeout 60 rmmod hostile_peer || fail "rmmod hostile_peer"
		dmesg | grep 'hostile_peer: .* said' | tail -n 1
	else
		lab wait 20 bash -c usb4_has_none || fail "$1: carrier without a peer: $(usb4_peers)"
	fi
}
# At host 1.
refuses() { [ "$LAB_HOST" != 1 ] || usb4_says "$1"; }
begun() { usb4_rail lives begun; }
lines() { dmesg | grep -c 'usb4_rxe: '; }

pair_up
barrier up
pair_answers
soak before --rc 2 --messages 50 --largest 65536
if [ "$LAB_HOST" = 2 ]; then
	rmmod usb4_rxe || fail "rmmod usb4_rxe"
fi

hostile version $((3 * LAB_PATIENCE))
refuses 'refused.*no common rail version: one end speaks'
hostile_ends version

hostile capability $((3 * LAB_PATIENCE))
refuses 'the peer is refused: .*capabilit'
hostile_ends capability

# A life in which no frame arrives has five seconds; the peer is as if loaded anew every seven.
before=$(begun)
hostile silent $((16 * LAB_PATIENCE))
if [ "$LAB_HOST" = 1 ]; then
	usb4_peers
	[ "$(begun)" -gt $((before + 1)) ] || fail "no life began"
	usb4_says 'frames do not arrive'
fi
hostile_ends silent

for mode in hops random; do
	before=$(lines)
	hostile $mode $((15 * LAB_PATIENCE))
	if [ "$LAB_HOST" = 1 ]; then
		usb4_peers
		said=$(($(lines) - before))
		lab result "lines_said_of_$mode" $said
		# Thirty in ten seconds.
		[ $said -le $((30 * (2 + 15 * LAB_PATIENCE / 10))) ] || fail "$mode: $said lines in the log"
	fi
	hostile_ends $mode
done

barrier "a good one"
pair_up
barrier "up again"
pair_answers
pair_all_rails
soak again --rc 8 --uc 2 --ud 2 --seconds 3
across_end
