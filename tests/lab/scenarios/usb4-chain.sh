#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Three hosts in a chain: the one in the middle has a device for each neighbour, uses both at once, and forwards between the ends.
# lab@7.3: --topology tests/lab/topologies/chain3.toml --mem 640 --timeout 300
. /checkout/tests/lab/guest/soak.sh

# Three guests of the debug kernel on two CPUs: each is away for seconds at a time.
[ "$LAB_RDMA$LAB_PATIENCE" = usb4_rxe1 ] || soak_terms=(--timeout 19)
case $LAB_HOST in
1)
	pair_up host2 0
	ip route add 10.0.1.0/24 via 10.0.0.2
	;;
2)
	pair_up host3 1
	device3=$rdma_dev gid3=$rdma_gid
	pair_up host1 0
	[ "$device3" != "$rdma_dev" ] || fail "both neighbours have the same device"
	sysctl -qw net.ipv4.ip_forward=1
	rdma link
	;;
3)
	pair_up host2 1
	ip route add 10.0.0.0/24 via 10.0.1.2
	;;
esac
barrier up
pair_answers
barrier answers

# One after the other, then both at once.
across_client=1 across_server=2
soak end-1 --rc 8 --uc 2 --ud 2 --seconds 8
across_client=3
if [ "$LAB_HOST" = 2 ]; then
	device1=$rdma_dev gid1=$rdma_gid
	rdma_dev=$device3 rdma_gid=$gid3
fi
soak end-3 --rc 8 --uc 2 --ud 2 --seconds 8

program=/checkout/out/soak/soak
case $LAB_HOST in
2)
	timeout 90 $program -d "$device1" -g "$gid1" -p 18701 "${soak_both[@]}" >/lab/output/both-1.server 2>&1 &
	first=$!
	timeout 90 $program -d "$device3" -g "$gid3" -p 18703 "${soak_both[@]}" >/lab/output/both-3.server 2>&1 &
	second=$!
	wait "$first" && wait "$second" || fail "both at once: $(tail -n 3 /lab/output/both-*)"
	;;
*)
	check "both-$LAB_HOST" $program -d "$rdma_dev" -g "$rdma_gid" -p "1870$LAB_HOST" "${soak_both[@]}" "${soak_terms[@]}" --rc 8 --uc 2 --ud 2 --seconds 15 "$pair_ip"
	grep ^soak: "/lab/output/both-$LAB_HOST"
	;;
esac
barrier both

# RoCEv2 is IP: from one end to the other through the host in the middle.
across_client=1 across_server=3
case $LAB_HOST in
1) pair_ip=10.0.1.3 ;;
3) pair_ip=10.0.0.1 ;;
esac
[ "$LAB_HOST" != 1 ] || answers "$pair_ip"
barrier routed
# What is forwarded may be dropped where it comes faster than it goes, as on any Ethernet without flow control: there the sender waits
# for its timer, and a few queue pairs are enough to see that all arrives.
soak_terms=(--timeout 16)
[ "$LAB_PATIENCE" = 1 ] || soak_terms=(--timeout 19)
soak_both+=(--may-lose)
soak end-to-end --rc 2 --uc 1 --ud 1 --largest 262144 --seconds 10
check_listens=$(listens_cm)
across rping rping -s -a 10.0.1.3 -V -C 20 -- rping -c -a 10.0.1.3 -V -C 20
across_end
