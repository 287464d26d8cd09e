#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Plugged in, and there is a device: names, parents, speed, addresses, GIDs; what it counts, both ends agree on; nobody deletes the interface,
# and the RDMA device is the administrator's to delete and to make.
# lab: --timeout 240
. /checkout/tests/lab/guest/usb4.sh

class=/sys/class/infiniband/$usb4_dev
peer=host$((3 - LAB_HOST))
modprobe -a ib_uverbs rdma_ucm || fail "modprobe"

echo "== it comes without a command"
lab wait 60 bash -c 'usb4_state ACTIVE 2>/dev/null' || fail "$(rdma link; ip link; dmesg | tail -n 5)"
lab wait 10 bash -c "ibv_devinfo -d $usb4_dev -v | grep -q 'fe80:.*, RoCE v2'" || fail "$(ibv_devinfo -d $usb4_dev -v | grep GID)"
usb4_up
rdma link show $usb4_dev/1 | grep -q "state ACTIVE physical_state LINK_UP netdev $usb4_net" || fail "$(rdma link)"

echo "== where it is"
nhi=$(readlink -f /sys/bus/pci/drivers/thunderbolt/0000:*)
[ -d "$nhi" ] || fail "no host router"
[ "$(readlink -f $class/device)" = "$nhi" ] || fail "$usb4_dev is at $(readlink -f $class/device)"
[ "$(readlink -f /sys/class/net/$usb4_net/device)" = "$nhi" ] || fail "$usb4_net is at $(readlink -f /sys/class/net/$usb4_net/device)"

echo "== how fast it is"
ethtool $usb4_net | grep -q 'Speed: 40000Mb/s' || fail "$(ethtool $usb4_net)"
grep -q '40 Gb/sec' $class/ports/1/rate || fail "$(cat $class/ports/1/rate)"
grep -q Ethernet $class/ports/1/link_layer || fail "link layer"

echo "== who it is"
mac=$(</sys/class/net/$usb4_net/address)
[ $((0x${mac%%:*} & 3)) = 2 ] || fail "$mac is not a locally administered address of one station"
guid=$(<$class/node_guid)
[ "$guid" = "$(<$class/sys_image_guid)" ] || fail "GUIDs differ"
echo "$mac $guid" >"/lab/is.$LAB_HOST"
barrier written
[ "$(cat /lab/is.1)" != "$(cat /lab/is.2)" ] || fail "both ends have the same address"

echo "== GIDs"
lab wait 10 bash -c "ibv_devinfo -d $usb4_dev -v | grep -q '10.0.0.$LAB_HOST, RoCE v2'" || fail "$(ibv_devinfo -d $usb4_dev -v | grep GID)"
types=$(cat $class/ports/1/gid_attrs/types/* 2>/dev/null | sort -u)
[ "$types" = "RoCE v2" ] || fail "types: $types"

echo "== IP goes through"
answers $peer
answers $peer -s 8000 -M do

# gid_index: of our IPv4 address.
gid_index() {
	local gid
	gid=$(grep -l "ffff:0a00:000$LAB_HOST" $class/ports/1/gids/* | head -n 1)
	echo "${gid##*/}"
}
# pingpong NAME OPTIONS...
pingpong() {
	local name=$1
	shift
	set -- -d $usb4_dev -g "$(gid_index)" "$@"
	if [ "$LAB_HOST" = 2 ]; then
		timeout $((60 * LAB_PATIENCE)) ibv_rc_pingpong "$@" >/dev/null &
		lab wait 10 sh -c "ss -Hltn 'sport = 18515' | grep -q ." || fail "ibv_rc_pingpong does not listen"
		barrier "$name listens"
		wait $! || fail "$name: server"
	else
		barrier "$name listens"
		timeout $((60 * LAB_PATIENCE)) ibv_rc_pingpong "$@" 10.0.0.2 >/dev/null || fail "$name: client"
	fi
}
rdma_counter() { rdma -j statistic show link $usb4_dev/1 | jq ".[0].$1"; }
wire_counter() { ethtool -S $usb4_net | sed -n "s/^ *wire_$1: //p"; }

echo "== what it counts: a cable in order has no gaps"
pingpong plain -n 200
usb4_agree plain
usb4_peers
for column in gaps missing damaged refused; do
	[ "$(usb4_rail receiving $column)" = 0 ] || fail "$column: $(usb4_peers)"
done
[ "$(usb4_rail sending posted)" -ge 200 ] || fail "posted: $(usb4_peers)"
[ "$(usb4_rail lives begun) $(usb4_rail lives state) $(usb4_rail lives given_up)" = "1 up 0" ] || fail "lives: $(usb4_peers)"
[ "$(rdma_counter rcvd_seq_err) $(rdma_counter out_of_seq_request) $(rdma_counter send_err)" = "0 0 0" ] || fail "$(rdma statistic)"
[ "$(rdma_counter rdma_sends)" -ge 200 ] && [ "$(rdma_counter rdma_recvs)" -ge 200 ] || fail "$(rdma statistic)"
[ "$(wire_counter tx_rdma)" = "$(rdma_counter sent_pkts)" ] || fail "$(wire_counter tx_rdma) packets on the wire: $(rdma statistic)"
posted=$(usb4_rail sending posted)
[ "$(wire_counter tx_frames)" -ge "$posted" ] || fail "$posted frames: $(ethtool -S $usb4_net)"
figure sent "$(rdma_counter sent_pkts)"
barrier sent
[ "$(rdma_counter rcvd_pkts)" = "$(theirs sent)" ] || fail "the peer sent $(theirs sent) packets: $(rdma statistic)"
barrier counted

echo "== what it counts: a cable that damages frames"
[ "$LAB_HOST" != 1 ] || lab fabric fault 0 corrupt=1%
barrier corrupt
pingpong corrupt -n 100 -s 65536
barrier ponged
[ "$LAB_HOST" != 1 ] || lab fabric fault 0 corrupt=0
barrier clean
answers $peer
usb4_agree corrupt
usb4_peers
[ "$(usb4_rail receiving gaps)" -gt 0 ] && [ "$(usb4_rail receiving missing)" -ge "$(usb4_rail receiving gaps)" ] || fail "no gaps: $(usb4_peers)"
[ "$(rdma_counter completer_retry_err)" -gt 0 ] || fail "nothing was repeated: $(rdma statistic)"
figure damaged "$(usb4_rail receiving damaged)"
barrier damaged
if [ "$LAB_HOST" = 1 ]; then
	corrupted=$(lab fabric stats | jq '.cables[0] | .forward.corrupted + .back.corrupted')
	[ "$corrupted" = $(($(usb4_rail receiving damaged) + $(theirs damaged))) ] || fail "$corrupted frames were damaged: $(theirs damaged) there, here $(usb4_peers)"
fi
barrier agreed

echo "== an interface that is down carries no RDMA either"
# endless: packets until something breaks; what the program says of that goes to the shared folder.
endless() { timeout $((60 * LAB_PATIENCE)) ibv_rc_pingpong -d $usb4_dev -g "$(gid_index)" -n 1000000000 "$@" >"/lab/endless.$LAB_HOST" 2>&1 || true; }
if [ "$LAB_HOST" = 2 ]; then
	endless &
	lab wait 10 sh -c "ss -Hltn 'sport = 18515' | grep -q ." || fail "ibv_rc_pingpong does not listen"
fi
barrier "endless listens"
sends=$(rdma_counter rdma_sends)
[ "$LAB_HOST" = 2 ] || endless 10.0.0.2 &
lab wait 30 bash -c "[ \$(rdma -j statistic show link $usb4_dev/1 | jq '.[0].rdma_sends') -gt $((sends + 100)) ]" || fail "nothing was sent: $(cat /lab/endless.$LAB_HOST)"
barrier "endless runs"
if [ "$LAB_HOST" = 2 ]; then
	ip link set $usb4_net down || fail "ip link set down"
	lab wait 10 bash -c 'usb4_state DOWN' || fail "$(rdma link)"
	sent=$(wire_counter tx_rdma) received=$(wire_counter rx_rdma)
fi
# Who waits for an acknowledgement is told; the other one waits for a message.
lab wait 30 sh -c "grep -q 'transport retry counter exceeded' /lab/endless.*" || fail "$(cat /lab/endless.*)"
if [ "$LAB_HOST" = 2 ]; then
	[ "$(wire_counter tx_rdma) $(wire_counter rx_rdma)" = "$sent $received" ] || fail "it carried RDMA: $(ethtool -S $usb4_net)"
	usb4_up
	lab wait 10 bash -c 'usb4_state ACTIVE' || fail "$(rdma link)"
fi
barrier "endless is over"
pkill -x ibv_rc_pingpong
wait
answers $peer
pingpong "up again" -n 100

echo "== nobody deletes the interface"
! ip link delete $usb4_net 2>/dev/null || fail "it was deleted"
ip netns add elsewhere
ip link set $usb4_net netns elsewhere || fail "into a namespace"
ip netns delete elsewhere
lab wait 20 [ -e /sys/class/net/$usb4_net ] || fail "it did not come back: $(ip -br link)"
usb4_up
# To who uses it in this namespace it was unregistered, and so it is to the RDMA device.
[ -z "$(rdma link)" ] || fail "it survived: $(rdma link)"
rdma link add $usb4_dev type usb4_rxe netdev $usb4_net || fail "rdma link add"
lab wait 10 bash -c 'usb4_state ACTIVE' || fail "$(rdma link)"
barrier back

echo "== deleted by hand it stays deleted"
rdma link delete $usb4_dev || fail "rdma link delete"
barrier deleted
# A rail that dies and comes back is no reason.
if [ "$LAB_HOST" = 1 ]; then
	lab fabric fault 0 stall=on
	lab wait 20 bash -c usb4_has_none || fail "a stalled cable has a carrier"
	lab fabric fault 0 stall=off
fi
barrier stalled
lab wait 30 bash -c usb4_has_carrier || fail "no carrier after a stall"
answers $peer
[ -z "$(rdma link)" ] || fail "it came back: $(rdma link)"
figure given_up "$(usb4_rail lives given_up)"
barrier counted-lives
[ "$(usb4_rail lives begun)" -ge 2 ] || fail "lives: $(usb4_peers)"
[ $(($(usb4_rail lives given_up) + $(theirs given_up))) -ge 1 ] || fail "nobody gave the rail up: $(usb4_peers)"

echo "== made by hand"
rdma link add mine type usb4_rxe netdev $usb4_net || fail "rdma link add"
lab wait 10 sh -c 'rdma link show mine/1 | grep -q ACTIVE' || fail "$(rdma link)"
[ "$(</sys/class/infiniband/mine/node_guid)" = "$guid" ] || fail "another GUID"
rdma link delete mine || fail "rdma link delete"
barrier by-hand

echo "== plugged in again it is back"
if [ "$LAB_HOST" = 1 ]; then
	lab fabric unplug 0
fi
lab wait 20 bash -c usb4_has_none || fail "carrier without a cable"
usb4_peers | grep -q '^    rail 0 *down .*  unplugged$' || fail "$(usb4_peers)"
barrier pulled
[ "$LAB_HOST" != 1 ] || lab fabric plug 0
lab wait 60 bash -c usb4_has_carrier || fail "no carrier after plugging in"
lab wait 10 bash -c 'usb4_state ACTIVE' || fail "$(rdma link)"
answers $peer
barrier plugged

echo "== the next load finds the same address"
rmmod usb4_rxe || fail "rmmod"
usb4_gone || fail "devices without a driver"
barrier unloaded
usb4_up
lab wait 10 [ -e $class ] || fail "no $usb4_dev"
[ "$(</sys/class/net/$usb4_net/address) $(<$class/node_guid)" = "$(<"/lab/is.$LAB_HOST")" ] || fail "another address"
answers $peer
barrier end
