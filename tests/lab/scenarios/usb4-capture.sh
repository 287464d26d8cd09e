#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tcpdump on the netdev while traffic runs: every RoCEv2 packet is there for tshark to decode without complaint, and the ICRC of each is
# right, computed anew by a program with code of its own for it (tests/capture).
# lab@7.3: --rails 1 --mem 768
# lab-long: --rails 2 --mem 768
# lab-long: --rails 4 --mem 768
. /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/capture.sh

# decoded FILE: what tshark makes of the packets to RoCE's port: fails on one that is not InfiniBand to its end.
decoded() {
	# Random payload looks like anything to heuristics.
	local heuristics
	heuristics=$(tshark -G heuristic-decodes | awk -F '\t' '$1 == "infiniband.payload" { print "--disable-heuristic", $5 }')
	# No UDP checksum, as RoCEv2 is sent, is a fault over IPv6 for tshark unless told otherwise: docs/wire-roce.md.
	# shellcheck disable=SC2086 # words
	tshark -r "$1" -o udp.ignore_ipv6_zero_checksum:TRUE $heuristics -Y "udp.dstport == 4791" -T fields -E separator=/s \
		-e frame.number -e infiniband.bth.opcode -e infiniband.invariant.crc -e _ws.malformed -e _ws.expert.severity -e _ws.expert.message >/tmp/decoded || return
	awk 'NF != 3 { print "not decoded without complaint: " $0; wrong++ }
		END { print NR " RoCEv2 packets decoded, " wrong + 0 " not"; exit NR == 0 || wrong > 0 }' /tmp/decoded
}
export -f decoded

# rdma_packets tx|rx: as the driver counts them.
rdma_packets() { ethtool -S "$rdma_net" | awk -v name="wire_$1_rdma:" '$1 == name { print $2 }'; }
# all_captured WAY WHO: as many packets with that sender are in the file as the driver has sent or received since before the capture.
all_captured() {
	[ "$LAB_RDMA" != rxe ] || return 0
	local captured counted=$(($(rdma_packets "$1") - before_$1))
	captured=$(tcpdump -nr /tmp/wire.pcap "src $2 and udp port 4791" 2>/dev/null | wc -l)
	echo "host $LAB_HOST: $1: $captured of $counted packets captured"
	[ "$captured" = "$counted" ] || fail "host $LAB_HOST captured $captured of $counted packets of $2"
}

pair_up
barrier up
pair_answers
pair_all_rails

# While nobody listens, the network stack gets nothing of it.
trace=/sys/kernel/tracing
[ -e $trace/trace ] || mount -t tracefs tracefs $trace || fail "no tracefs"
if [ "$LAB_RDMA" != rxe ]; then
	received=$trace/events/net/netif_receive_skb
	echo "name == \"$rdma_net\"" >$received/filter && echo 1 >$received/enable || fail "no event"
	before_rx=$(rdma_packets rx)
	soak unheard --rc 4 --messages 200 --largest 32768
	packets=$(($(rdma_packets rx) - before_rx))
	echo 0 >$received/enable
	heard=$(grep -c netif_receive_skb: $trace/trace)
	echo >$trace/trace
	echo "host $LAB_HOST: of $packets RDMA packets, and some of TCP beside them, the network stack got $heard"
	[ "$packets" -gt 200 ] && [ "$heard" -lt $((packets / 2)) ] || fail "the network stack got RDMA packets"
	barrier unheard
fi

capture /tmp/wire.pcap -B 65536 -s 0
before_tx=$(rdma_packets tx) before_rx=$(rdma_packets rx)
barrier capturing
soak traffic --rc 4 --uc 2 --ud 2 --messages 250 --largest 131072
[ "$LAB_HOST" != 1 ] || check ping ping -q -c 3 "$pair_ip"
barrier sent
capture_end
all_captured tx "$rdma_ip"
all_captured rx "$pair_ip"
cp /tmp/wire.pcap "/lab/wire-host$LAB_HOST.pcap"
check "tshark-host$LAB_HOST" bash -c "decoded /tmp/wire.pcap"
check "icrc-host$LAB_HOST" /checkout/out/capture/capture /tmp/wire.pcap
cat "/lab/output/tshark-host$LAB_HOST" "/lab/output/icrc-host$LAB_HOST"

# Both hosts have both directions, and every kind of packet.
for sender in 10.0.0.1 10.0.0.2; do
	for opcode in RcSendOnly RcSendFirst RcSendMiddle RcSendLast RcSendLastImm RcWriteOnly RcWriteFirst RcWriteMiddle RcWriteLast RcWriteLastImm \
		RcReadRequest RcReadResponseOnly RcReadResponseMiddle RcFetchAdd RcCompareSwap RcAtomicAck RcAck UcSendOnly UcWriteLastImm UdSendOnly UdSendOnlyImm; do
		grep -q " $sender $opcode\$" "/lab/output/icrc-host$LAB_HOST" || fail "host $LAB_HOST captured no $opcode of $sender"
	done
done

# The same with the addresses that the interfaces give themselves.
ipv4_gid=$rdma_gid
rdma_gid=$(rdma_find_gid fe80:) || fail "no GID for the link-local address"
capture /tmp/ipv6.pcap -B 65536 -s 0 "ip6 and udp port 4791"
barrier capturing-ipv6
soak ipv6 --rc 2 --ud 2 --messages 50 --largest 32768
barrier sent-ipv6
capture_end
check "tshark-ipv6-host$LAB_HOST" bash -c "decoded /tmp/ipv6.pcap"
check "icrc-ipv6-host$LAB_HOST" /checkout/out/capture/capture /tmp/ipv6.pcap
for opcode in RcSendOnly RcAck UdSendOnly; do
	[ "$(grep -c " fe80:.* $opcode\$" "/lab/output/icrc-ipv6-host$LAB_HOST")" -gt 0 ] || fail "host $LAB_HOST captured no $opcode from a link-local address"
done
rdma_gid=$ipv4_gid

# A bridge takes what its ports receive for its own, so copies of RDMA do not go there: else IP would answer them.
# The debug kernel has no bridges.
refusals() { nstat -asz IcmpOutDestUnreachs Icmp6OutDestUnreachs | awk 'NR > 1 { sum += $2 } END { print sum }'; }
if [ "$LAB_PATIENCE" = 1 ]; then
	ip link add br0 type bridge && ip link set br0 up && ip link set "$rdma_net" master br0 || fail "no bridge"
	capture /tmp/bridged.pcap -s 128 "udp port 4791"
	before=$(refusals)
	barrier bridged
	soak bridged --rc 2 --messages 20 --largest 4096
	barrier "sent by bridged"
	capture_end
	[ "$(refusals)" = "$before" ] || fail "IP on the bridge refused $(($(refusals) - before)) packets"
	tcpdump -nr /tmp/bridged.pcap 2>/dev/null | awk -v sender="$rdma_ip" '$3 ~ "^" sender "[.]" { sent++ } END { exit sent == 0 }' || fail "nothing that was sent was captured"
	ip link delete br0
fi

# RDMA fills the rails, so that TCP has to wait for room: each of its segments is shown once all the same. One that TCP repeats is another
# packet, with a number of its own in the IP header. Nor does the network stack have to offer us any twice.
# On the debug kernel an answer takes long.
load=(ib_write_bw -d "$rdma_dev" -x "$rdma_gid" -F -s 65536 -t 32 -u 20 -D 6)
case $LAB_HOST in
1)
	echo "name == \"$rdma_net\" && rc != 0" >$trace/events/net/net_dev_xmit/filter && echo 1 >$trace/events/net/net_dev_xmit/enable || fail "no event"
	capture /tmp/segments.pcap -Q out -B 32768 -s 96 "tcp dst port 5201"
	barrier "load listens"
	"${load[@]}" "$pair_ip" >/tmp/load 2>&1 &
	load_pid=$!
	;;
2)
	"${load[@]}" >/tmp/load 2>&1 &
	load_pid=$!
	lab wait 10 bash -c "$(listens_tcp 18515)" || fail "nobody takes the load"
	barrier "load listens"
	;;
esac
check_listens=$(listens_tcp 5201)
across tcp-beside-rdma iperf3 -s -1 -- iperf3 -c "$pair_ip" -t 2
wait "$load_pid" || fail "RDMA beside TCP: $(</tmp/load)"
if [ "$LAB_HOST" = 1 ]; then
	capture_end
	tshark -r /tmp/segments.pcap -T fields -e ip.id -e tcp.seq_raw -e tcp.len | sort >/tmp/segments
	lab result tcp_segments "$(wc -l </tmp/segments)"
	lab result tcp_segments_shown_again "$(uniq -d /tmp/segments | wc -l)"
	lab result tcp_segments_offered_again "$(grep -c net_dev_xmit: $trace/trace)"
	ethtool -S "$rdma_net" | grep -E "wire_tx_(rdma|ethernet|busy)"
	tc -s qdisc show dev "$rdma_net"
	[ -s /tmp/segments ] && [ -z "$(uniq -d /tmp/segments)" ] || fail "of $(wc -l </tmp/segments) segments, shown again: $(uniq -d /tmp/segments | wc -l)"
	! grep net_dev_xmit: $trace/trace || fail "the network stack had to offer packets again"
fi
across_end
