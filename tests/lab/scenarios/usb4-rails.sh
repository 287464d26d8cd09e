#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Two cables are two rails of one device: its speed is their sum, it outlives each of them, and a peer that is loaded anew brings both.
# lab@7.2: --rails 2 --timeout 300
# The same with both cables at one router.
# lab@7.3: --topology tests/lab/topologies/two-ports.toml --timeout 300
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
# How often, and how much traffic a kernel bears: the debug kernel takes minutes for a round.
pulls=(0 1 0 1) reloads=3 often=0.002
[ "$LAB_PATIENCE" = 1 ] || pulls=(0 1) reloads=1 often=0.05
wait_rails() { lab wait 60 bash -c "usb4_rails $1" || fail "$2: $(usb4_peers)"; }

usb4_up
wait_rails 2 "both cables"
[ "$(cd /sys/class/net && echo usb4eth*)" = $usb4_net ] || fail "interfaces: $(ls /sys/class/net)"
barrier up
answers "$peer"

echo "== both ends agree on what each of them carried"
ping -q -c 300 -i 0.002 -l 30 -s 8000 "$peer" >/dev/null || fail "ping"
barrier pinged
for rail in 0 1; do
	usb4_agree "rail $rail" $rail
	[ "$(usb4_rail receiving gaps $rail) $(usb4_rail lives begun $rail)" = "0 1" ] || fail "rail $rail: $(usb4_peers)"
done
# Two full frames for a packet, and two for its answer; what is left of them shares frames.
[ $(($(usb4_rail sending posted 0) + $(usb4_rail sending posted 1))) -ge 1200 ] || fail "posted: $(usb4_peers)"
usb4_peers
barrier agreed

for cable in "${pulls[@]}"; do
	barrier "pull $cable"
	ping -q -i 0.05 "$peer" >/dev/null &
	pinger=$!
	[ "$LAB_HOST" != 1 ] || lab fabric unplug "$cable"
	wait_rails 1 "without cable $cable"
	usb4_has_carrier || fail "no carrier, though one cable is in"
	# The first end to see it tells the other one, on the other cable.
	[ "$(usb4_peers | grep -Ec '^    rail [01] *down .*  (unplugged|the peer does not use it any more|frames do not arrive)$')" = 1 ] || fail "which cable is out? $(usb4_peers)"
	answers "$peer"
	barrier "plug $cable"
	[ "$LAB_HOST" != 1 ] || lab fabric plug "$cable"
	wait_rails 2 "with cable $cable again"
	answers "$peer"
	kill $pinger
done

echo "== both, then both"
barrier "pull both"
[ "$LAB_HOST" != 1 ] || { lab fabric unplug 0 && lab fabric unplug 1; }
lab wait 20 bash -c usb4_has_none || fail "carrier without a cable"
barrier "plug both"
[ "$LAB_HOST" != 1 ] || { lab fabric plug 0 && lab fabric plug 1; }
lab wait 60 bash -c usb4_has_carrier || fail "no carrier"
wait_rails 2 "with both again"
answers "$peer"

echo "== the peer is loaded anew"
for round in $(seq $reloads); do
	barrier "reload $round"
	if [ "$LAB_HOST" = 2 ]; then
		rmmod usb4_rxe || fail "rmmod"
		usb4_up
	fi
	barrier "reloaded $round"
	lab wait 60 bash -c usb4_has_carrier || fail "no carrier"
	wait_rails 2 "after reload $round"
	answers "$peer"
done

echo "== a cable that carries no frames"
barrier stall
# A rail that has nothing to do is not missed: some traffic for both.
ping -q -i $often -l 30 -s 8000 "$peer" >/dev/null &
pinger=$!
[ "$LAB_HOST" != 1 ] || lab fabric fault 1 stall=on
wait_rails 1 "with cable 1 stalled"
answers "$peer"
barrier stalled
kill $pinger
[ "$LAB_HOST" != 1 ] || lab fabric fault 1 stall=off
wait_rails 2 "with cable 1 in order again"
answers "$peer"
figure given_up $(($(usb4_rail lives given_up 0) + $(usb4_rail lives given_up 1)))
usb4_peers
barrier counted
[ $(($(<"/lab/given_up.1") + $(<"/lab/given_up.2"))) -ge 1 ] || fail "nobody gave a rail up: $(usb4_peers)"
barrier end
