#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What an administrator sees: network device, link, port, GIDs, counters and events; wrong commands are refused with a reason; everything
# goes in any order; the module loads and unloads 20 times.
# lab: --hosts 1 --rails 0 --timeout 240
. /checkout/tests/lab/guest/lib.sh

dev=usb4_rxe0 net=usb4eth0
class=/sys/class/infiniband/$dev
port=$class/ports/1
module=/lab/.lab/usb4_rxe.ko

# is FILE TEXT: the file of the port says so, within ten seconds.
is() { lab wait 10 grep -q -- "$2" "$port/$1" || fail "$1 is not $2 but $(cat "$port/$1")"; }
gids() { cat "$port"/gids/* 2>/dev/null | grep -v -c '^0000:0000:0000:0000:0000:0000:0000:0000$'; }
has_gid() { grep -q -l -i -x "$1" "$port"/gids/*; }
export -f has_gid
export port
refused() { ! "$@" 2>/dev/null || fail "not refused: $*"; }
says() { dmesg | grep -q -- "usb4_rxe: .*$1" || fail "the kernel log does not say '$1'"; }

modprobe -a ib_uverbs rdma_ucm || fail "modprobe"

echo "== the network device"
ip link add type usb4eth || fail "ip link add"
[ -e /sys/class/net/$net ] || fail "the first is not called $net"
ethtool $net | grep -q 'Speed: 40000Mb/s' || fail "$(ethtool $net)"
ethtool -i $net | grep -q 'driver: usb4_rxe' || fail "$(ethtool -i $net)"
[ "$(</sys/class/net/$net/mtu)" = 9000 ] || fail "its MTU"
refused ip link set $net mtu 9001

echo "== links that cannot be"
refused rdma link add $dev type usb4_rxe netdev lo
says "rdma link add $dev: not a USB4 network device"
rdma link add $dev type usb4_rxe netdev $net || fail "rdma link add"
refused rdma link add other type usb4_rxe netdev $net
says "rdma link add other: the network device has an RDMA device already"
ip link add type usb4eth
refused rdma link add $dev type usb4_rxe netdev usb4eth1
ip link delete usb4eth1 || fail "ip link delete"

echo "== the port"
[ "$(<"$class/node_type")" = "1: CA" ] || fail "node type $(<"$class/node_type")"
[ "$(<"$port/link_layer")" = Ethernet ] || fail "link layer"
# The modified EUI-64 of the address, as in a link-local address.
ip link set $net address 02:00:00:00:00:2a || fail "set address"
rdma link delete $dev || fail "rdma link delete"
rdma link add $dev type usb4_rxe netdev $net || fail "rdma link add again"
[ "$(<"$class/node_guid")" = 0000:00ff:fe00:002a ] || fail "node GUID $(<"$class/node_guid")"
[ "$(<"$class/sys_image_guid")" = 0000:00ff:fe00:002a ] || fail "system image GUID"
is state DOWN
is phys_state Disabled
ibv_asyncwatch -d $dev >/tmp/events 2>&1 &
watcher=$!
lab wait 10 sh -c "rdma resource show $dev | grep -q 'ctx 1'" || fail "ibv_asyncwatch"
sysctl -q -w net.ipv6.conf.$net.accept_dad=0
ip link set $net up || fail "up"
is state ACTIVE
is phys_state LinkUp
is rate '40 Gb/sec'
rdma link show $dev/1 | grep -q "state ACTIVE physical_state LINK_UP netdev $net" || fail "$(rdma link)"
ibv_devinfo -d $dev -v | grep -q 'active_mtu:.*4096' || fail "active MTU"
ip link set $net down
is state DOWN
ip link set $net up
is state ACTIVE

echo "== GIDs follow addresses"
lab wait 10 bash -c 'has_gid fe80:0000:0000:0000:0000:00ff:fe00:002a' || fail "no link-local GID: $(head "$port"/gids/{0..3})"
ip address add 10.1.2.3/24 dev $net
lab wait 10 bash -c 'has_gid 0000:0000:0000:0000:0000:ffff:0a01:0203' || fail "no GID for 10.1.2.3"
ip -6 address add 2001:db8::7/64 dev $net
lab wait 10 bash -c 'has_gid 2001:0db8:0000:0000:0000:0000:0000:0007' || fail "no GID for 2001:db8::7"
[ "$(gids)" = 3 ] || fail "$(gids) GIDs"
[ "$(cat "$port"/gid_attrs/types/* 2>/dev/null | sort | uniq -c | xargs)" = "3 RoCE v2" ] || fail "types: $(cat "$port"/gid_attrs/types/* 2>/dev/null)"
[ "$(cat "$port"/gid_attrs/ndevs/0)" = $net ] || fail "GID 0 is of another network device"
ibv_devinfo -d $dev -v | grep -q '10.1.2.3, RoCE v2' || fail "ibv_devinfo does not show the GID"
ip address delete 10.1.2.3/24 dev $net
lab wait 10 bash -c '! has_gid 0000:0000:0000:0000:0000:ffff:0a01:0203' || fail "the GID of 10.1.2.3 is still there"

echo "== the path MTU follows the MTU"
for mtu in 1500:1024 4187:2048 4188:4096 9000:4096; do
	ip link set $net mtu "${mtu%:*}"
	ibv_devinfo -d $dev -v | grep -q "active_mtu:[[:space:]]*${mtu#*:} " || fail "MTU $mtu: $(ibv_devinfo -d $dev | grep active_mtu)"
done

echo "== counters"
counter() { rdma -j statistic show link $dev/1 | jq ".[0].$1"; }
[ "$(rdma statistic show link $dev/1 | wc -w)" = $((2 + 17 * 2)) ] || fail "$(rdma statistic show link $dev/1)"
[ "$(counter link_downed)" = 1 ] || fail "link_downed: $(rdma -j statistic show link $dev/1)"
[ "$(<"$port/counters/link_downed")" = 1 ] || fail "link_downed in sysfs"
ip address add 10.1.2.3/24 dev $net
lab wait 10 bash -c 'has_gid 0000:0000:0000:0000:0000:ffff:0a01:0203'
gid=$(grep -l '0a01:0203' "$port"/gids/*)
ibv_rc_pingpong -d $dev -g "${gid##*/}" -n 10 >/dev/null &
lab wait 10 sh -c "ss -Hltn 'sport = 18515' | grep -q ." || fail "ibv_rc_pingpong does not listen"
ibv_rc_pingpong -d $dev -g "${gid##*/}" -n 10 10.1.2.3 >/dev/null || fail "ibv_rc_pingpong"
wait $!
sleep 1
packets=$(counter sent_pkts)
[ "$packets" -ge 100 ] || fail "$packets packets sent"
[ "$(<"$port/counters/port_xmit_packets")" = "$packets" ] || fail "$packets packets, $(<"$port/counters/port_xmit_packets") in sysfs"
[ "$(<"$port/counters/port_rcv_data")" -gt 10000 ] || fail "received data in sysfs"

ethtool_counter() { ethtool -S $net | sed -n "s/^ *rdma_$1: //p"; }
for name in $(rdma -j statistic show link $dev/1 | jq -r '.[0] | keys[] | select(. != "ifname" and . != "port")'); do
	[ "$(ethtool_counter "$name")" = "$(counter "$name")" ] || fail "$name: $(counter "$name") in rdma statistic, $(ethtool_counter "$name") in ethtool -S"
done
[ "$(ethtool -S $net | grep -c rdma_)" = 17 ] || fail "$(ethtool -S $net)"

# The interface leads nowhere, so what is for another host is lost, and that is counted.
[ "$(counter send_err)" = 0 ] || fail "send_err: $(rdma statistic show link $dev/1)"
modprobe rdma_ucm || fail "modprobe rdma_ucm"
ip neighbour add 10.1.2.99 lladdr 02:00:00:00:00:63 dev $net || fail "ip neighbour"
timeout 3 rping -c -a 10.1.2.99 -C 1 >/dev/null 2>&1
[ "$(counter send_err)" -ge 1 ] || fail "send_err after a packet to nobody: $(rdma statistic show link $dev/1)"

echo "== its name and description"
rdma dev set $dev name renamed || fail "rename"
echo "the first" >/sys/class/infiniband/renamed/node_desc || fail "description"
[ "$(</sys/class/infiniband/renamed/node_desc)" = "the first" ] || fail "description not kept"
rdma dev set renamed name $dev || fail "rename back"

echo "== events"
rdma link delete $dev || fail "rdma link delete under a user"
[ ! -e $class ] || fail "it is still there"
lab wait 10 grep -q DEVICE_FATAL /tmp/events || fail "the user was not told: $(</tmp/events)"
kill $watcher
wait $watcher 2>/dev/null
[ "$(grep -o 'PORT_[A-Z]*' /tmp/events | xargs)" = "PORT_ACTIVE PORT_ERR PORT_ACTIVE" ] || fail "events: $(</tmp/events)"

echo "== the network device goes first"
rdma link add $dev type usb4_rxe netdev $net || fail "rdma link add"
ibv_asyncwatch -d $dev >/tmp/events 2>&1 &
watcher=$!
lab wait 10 sh -c "rdma resource show $dev | grep -q 'ctx 1'" || fail "ibv_asyncwatch"
timeout 20 ip link delete $net || fail "ip link delete under a user"
lab wait 10 [ ! -e $class ] || fail "the RDMA device did not follow"
lab wait 10 grep -q DEVICE_FATAL /tmp/events || fail "the user was not told"
kill $watcher
wait $watcher 2>/dev/null

echo "== a network namespace of its own"
rdma system set netns exclusive || fail "exclusive"
ip netns add elsewhere
ip link add $net netns elsewhere type usb4eth || fail "in a namespace"
ip netns exec elsewhere ip link set $net up
ip netns exec elsewhere rdma link add $dev type usb4_rxe netdev $net || fail "link in a namespace"
elsewhere() { ip netns exec elsewhere "$@"; }
elsewhere rdma link | grep -q "$dev/1 state ACTIVE" || fail "not seen where it is"
elsewhere ip link set lo up
elsewhere ip address add 10.5.0.1/24 dev $net
export -f elsewhere
lab wait 10 bash -c "elsewhere grep -qi 0a05:0001 $port/gids/1" || fail "GIDs in a namespace: $(elsewhere head $port/gids/{0..3})"
ip netns exec elsewhere ibv_rc_pingpong -d $dev -g 1 -n 100 >/tmp/pong &
ponger=$!
lab wait 10 bash -c "elsewhere ibv_rc_pingpong -d $dev -g 1 -n 100 10.5.0.1" || fail "no traffic in a namespace"
wait $ponger || fail "no traffic in a namespace: $(</tmp/pong)"
# To a namespace without its network device, under a user, who loses it; and back.
ip netns exec elsewhere ibv_asyncwatch -d $dev >/tmp/events 2>&1 &
watcher=$!
lab wait 10 bash -c "elsewhere rdma resource show $dev | grep -q 'ctx 1'" || fail "ibv_asyncwatch in a namespace"
ip netns add third
elsewhere rdma dev set $dev netns third || fail "to another namespace"
ip netns exec third rdma dev | grep -q $dev || fail "not where it was sent"
lab wait 10 bash -c "! kill -0 $watcher 2>/dev/null || grep -qi fatal /tmp/events" || fail "a user was not told: $(</tmp/events)"
kill $watcher 2>/dev/null
ip netns exec third rdma dev set $dev netns elsewhere || fail "back"
ip netns delete third
elsewhere rdma link | grep -q "$dev/1 state ACTIVE" || fail "not back"
[ -z "$(rdma link)" ] || fail "seen elsewhere, too: $(rdma link)"
ip netns delete elsewhere
lab wait 20 sh -c '[ -z "$(rdma link)" ] && [ ! -e /sys/class/infiniband/usb4_rxe0 ]' || fail "it outlived its namespace: $(rdma link)"
# Namespaces end in their own time.
lab wait 20 rdma system set netns shared || fail "shared"

echo "== the module stays while somebody reads its status"
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
exec 9</sys/kernel/debug/usb4_rxe/peers || fail "no status"
refused rmmod usb4_rxe
exec 9<&-

echo "== the module goes first, under a user"
rmmod usb4_rxe || fail "rmmod"
# What the kernel asks for by name is what the module calls itself.
modinfo -F alias $module | grep -q -x rdma-link-usb4_rxe || fail "alias of the link"
modinfo -F alias $module | grep -q -x rtnl-link-usb4eth || fail "alias of the network device"
printf '#!/bin/sh\necho "$*" >>/tmp/asked\ncase $* in *rtnl-link-usb4eth) insmod %s ;; esac\n' $module >/tmp/modprobe
chmod +x /tmp/modprobe
echo /tmp/modprobe >/proc/sys/kernel/modprobe
ip link add $net type usb4eth || fail "it was not loaded by its alias: $(</tmp/asked)"
rdma link add $dev type usb4_rxe netdev $net || fail "rdma link add"
ibv_asyncwatch -d $dev >/tmp/events 2>&1 &
watcher=$!
lab wait 10 sh -c "rdma resource show $dev | grep -q 'ctx 1'" || fail "ibv_asyncwatch"
timeout 20 rmmod usb4_rxe || fail "rmmod under a user"
[ ! -e /sys/class/net/$net ] && [ ! -e $class ] || fail "devices without a driver"
lab wait 10 grep -q DEVICE_FATAL /tmp/events || fail "the user was not told"
kill $watcher
wait $watcher 2>/dev/null

echo "== a kernel that lays out its structures in another way"
# As if one of them were: in one of the two lists of fields that are compared, one has another name.
cp $module /tmp/other.ko
place=$(grep -abo 'ib_cq\.comp_handler' $module | tail -n 1)
printf x | dd of=/tmp/other.ko bs=1 seek="${place%%:*}" conv=notrunc status=none
refused insmod /tmp/other.ko
says "not loaded: gcc and bindgen lay out .b_cq.comp_handler differently"
[ ! -e /sys/module/usb4_rxe ] || fail "it is loaded"

echo "== 20 times"
for round in $(seq 20); do
	insmod $module || fail "round $round: insmod"
	case $((round % 3)) in
	0) ;;
	1) ip link add $net type usb4eth ;;
	2)
		ip link add $net type usb4eth && ip link set $net up &&
			rdma link add $dev type usb4_rxe netdev $net
		;;
	esac || fail "round $round: devices"
	rmmod usb4_rxe || fail "round $round: rmmod"
done
echo "all of it"
