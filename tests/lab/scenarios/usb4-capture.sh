#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tcpdump on the netdev while traffic runs: every RoCEv2 packet is there for tshark to decode without complaint, and the ICRC of each is
# right, computed anew by a program that shares nothing with the driver (tests/capture).
# lab: --rails 1 --mem 768
# lab-long: --rails 2 --mem 768
. /checkout/tests/lab/guest/soak.sh

# decoded FILE: what tshark makes of the packets to RoCE's port: fails on one that is not InfiniBand to its end.
decoded() {
	# Random payload looks like anything to heuristics.
	local heuristics
	heuristics=$(tshark -G heuristic-decodes | awk -F '\t' '$1 == "infiniband.payload" { print "--disable-heuristic", $5 }')
	# shellcheck disable=SC2086 # words
	tshark -r "$1" $heuristics -Y "udp.dstport == 4791" -T fields -E separator=/s \
		-e frame.number -e infiniband.bth.opcode -e infiniband.invariant.crc -e _ws.malformed -e _ws.expert.severity -e _ws.expert.message >/tmp/decoded || return
	awk 'NF != 3 { print "not decoded without complaint: " $0; wrong++ }
		END { print NR " RoCEv2 packets decoded, " wrong + 0 " not"; exit NR == 0 || wrong > 0 }' /tmp/decoded
}
export -f decoded

pair_up
barrier up
pair_answers
pair_all_rails
tcpdump -i "$rdma_net" -B 65536 -s 0 -U -w /tmp/wire.pcap 2>/tmp/tcpdump &
tcpdump=$!
lab wait 20 grep -q listening /tmp/tcpdump || fail "tcpdump: $(</tmp/tcpdump)"
barrier capturing
soak traffic --rc 4 --uc 2 --ud 2 --messages 250 --largest 131072
[ "$LAB_HOST" != 1 ] || check ping ping -q -c 3 "$pair_ip"
barrier sent
sleep 1
kill -INT "$tcpdump"
wait "$tcpdump"
cat /tmp/tcpdump
grep -q "^0 packets dropped by kernel" /tmp/tcpdump || fail "not everything was captured"
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
across_end
