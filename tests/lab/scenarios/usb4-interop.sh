#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Upstream rxe on the other side: on the peer's usb4eth0, and on a network card behind the peer, which forwards. Each end is server and client.
# lab-rdma: usb4_rxe
# lab@7.3: --topology tests/lab/topologies/gateway.toml --lan 2-3 --mem 512 --timeout 600
. /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/perftest.sh

# With less time, each end has one turn as the one that begins everything.
mostly=talk_briefly
[ "${LAB_LONG-}" != 1 ] || mostly=talk

# ibv_rc_pingpong gives up after half a second, whatever one asks.
pingpongs="rc uc ud"
[ "$LAB_PATIENCE" = 1 ] || pingpongs="uc ud"

# Not on the host that only watches.
rdma_gid="" pair_ip=""

# An rxe requester takes an ACK of a duplicate for the answer to an atomic, so nothing may be sent again too early.
# And when a READ is asked for again from its first packet on, an rxe responder takes the length of the last request to have come
# for that READ's (read_reply): if that had none, it refuses with a remote access error, and warns in the kernel log.
soak_terms=(--timeout 20 --no-empty)

# upstream_on NETDEV: upstream's device there, for the functions of rdma.sh.
upstream_on() {
	modprobe -a rdma_rxe ib_uverbs rdma_ucm || fail "cannot load rdma_rxe"
	rdma_net=$1 rdma_dev=rxe0
	rdma link add rxe0 type rxe netdev "$1" || fail "cannot add rxe0 on $1"
	rdma_wait_active
	rdma link
}

# perf NAME PROGRAM OPTIONS... Three emulated guests on two CPUs may be silent for half a second, with the debug kernel for some seconds:
# eight tries of 0.5 s, and of 4.3 s there.
perf() { perftest across "$pair_ip" "$@" -u $((LAB_PATIENCE > 1 ? 20 : 17)); }

# Upstream's device drops what its queues do not take, and so does a host that forwards.
soak_both+=(--may-lose)

# talk_briefly NAME: some of what both can, with the present roles.
talk_briefly() {
	local options=(-d "$rdma_dev" -g "$rdma_gid" -p 18600 -n 100)
	check_listens=$(listens_tcp 18600)
	across "$1-uc-pingpong" ibv_uc_pingpong "${options[@]}" -- ibv_uc_pingpong "${options[@]}" "$pair_ip"
	perf "$1-send-bw" ib_send_bw -n 100
	soak "$1-soak" --rc 4 --uc 2 --ud 2 --seconds 5 --largest 1048576
}

# talk NAME: everything.
talk() {
	local type options=(-d "$rdma_dev" -g "$rdma_gid" -p 18600 -n 100)
	check_listens=$(listens_tcp 18600)
	for type in $pingpongs; do
		across "$1-$type-pingpong" "ibv_${type}_pingpong" "${options[@]}" -- "ibv_${type}_pingpong" "${options[@]}" "$pair_ip"
	done
	perf "$1-send-bw" ib_send_bw -n 100
	# What a host that forwards drops would be waited for in vain.
	if [[ $1 != *fabric* ]]; then
		perf "$1-send-bw-uc" ib_send_bw -n 100 -c UC
		perf "$1-send-bw-ud" ib_send_bw -n 100 -c UD -s 1024
	fi
	perf "$1-write-bw" ib_write_bw -n 100
	perf "$1-write-lat" ib_write_lat -n 100 -s 64
	perf "$1-read-bw" ib_read_bw -n 100
	perf "$1-atomic" ib_atomic_bw -n 100
	soak "$1-soak" --rc 4 --uc 2 --ud 2 --seconds 10 --largest 1048576
	check_listens=$(listens_cm)
	across "$1-rping" rping -s -a "$server_ip" -V -C 20 -- rping -c -a "$server_ip" -V -C 20
}

# roles CLIENT SERVER NAME TALK: these hosts talk in these roles; all hosts know all addresses.
roles() {
	across_client=$1 across_server=$2 server_ip=${address[$2]}
	case $LAB_HOST in
	"$1") pair_ip=${address[$2]} ;;
	"$2") pair_ip=${address[$1]} ;;
	esac
	"$4" "$3"
}

# Ours on host 1, upstream's on host 2's netdev.
address=("" 10.0.0.1 10.0.0.2 10.1.0.3)
if [ "$LAB_HOST" != 3 ]; then
	pair_up "host$((3 - LAB_HOST))"
fi
if [ "$LAB_HOST" = 2 ]; then
	rdma link delete "$rdma_dev" || fail "cannot delete $rdma_dev"
	upstream_on "$rdma_net"
fi
barrier up
[ "$LAB_HOST" = 3 ] || pair_answers
barrier answers
roles 1 2 ours-to-rxe talk
roles 2 1 rxe-to-ours "$mostly"

# Upstream's on host 3, behind host 2, which has no RDMA device any more: it forwards.
case $LAB_HOST in
1)
	ip route add 10.1.0.0/24 via 10.0.0.2
	;;
2)
	rdma link delete rxe0
	rmmod rdma_rxe || fail "rmmod rdma_rxe"
	modprobe virtio_net
	ip link set eth0 mtu "$pair_mtu" up
	ip address add 10.1.0.2/24 dev eth0
	sysctl -qw net.ipv4.ip_forward=1
	# fq_codel drops what waits for some milliseconds, and an emulated guest is often away that long. After a drop an rxe requester
	# may be silent for good: a NAK came, seven requests waited, and nothing was sent for 30 s, seven timeouts.
	# (The debug kernel has pfifo_fast only, which does not.)
	if [ "$LAB_PATIENCE" = 1 ]; then
		tc qdisc replace dev eth0 root pfifo limit 10000 && tc qdisc replace dev "$rdma_net" root pfifo limit 10000 || fail "tc"
	fi
	;;
3)
	modprobe virtio_net
	ip link set eth0 mtu "$pair_mtu" up
	ip address add 10.1.0.3/24 dev eth0
	ip route add 10.0.0.0/24 via 10.1.0.2
	rdma_ip=10.1.0.3
	upstream_on eth0
	;;
esac
barrier routed
[ "$LAB_HOST" != 1 ] || answers 10.1.0.3
barrier reached
roles 1 3 ours-to-fabric "$mostly"
roles 3 1 fabric-to-ours talk

# And with our device back on the host that forwards: what is for others still goes past it.
if [ "$LAB_HOST" = 2 ]; then
	rdma link add usb4_rxe0 type usb4_rxe netdev "$rdma_net" || fail "cannot add usb4_rxe0 again"
	rdma_dev=usb4_rxe0
	rdma_wait_active
fi
barrier device
roles 1 3 past-our-device talk_briefly
roles 1 2 ours-to-ours talk_briefly
across_end
