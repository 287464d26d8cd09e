#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# IP over the rails: ping, TCP both ways and UDP, at Ethernet's MTU and at the largest one, with a file that comes whole, also by ssh.
# lab-long: --rails 1
# lab@7.3: --rails 2
# lab-long: --rails 4 --mem 384
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

# file_arrives: what the peer sends is what it has.
serve_file() { nc -lN 5300 </tmp/file; }
file_arrives() { nc -d "$1" 5300 | cmp - /tmp/file; }
# all_answered PING-OPTIONS...: no packet is lost.
all_answered() { ping -q "$@" | tee /dev/stderr | grep -q ', 0% packet loss'; }
export -f serve_file file_arrives all_answered

pair_up
barrier up
pair_answers
pair_all_rails
ip -j -6 address show dev "$rdma_net" scope link | jq -r ".[0].addr_info[0].local" >"/lab/link-local.$LAB_HOST"
[ "$LAB_HOST" != 1 ] || head -c 8M /dev/urandom >/lab/file
barrier file
# The folder shared with the lab is slow to read in small pieces.
cp /lab/file /tmp/file || fail "cp"
for mtu in 1500 9000; do
	ip link set "$rdma_net" mtu "$mtu" || fail "$rdma_net does not take MTU $mtu"
	barrier "mtu $mtu"
	if [ "$LAB_HOST" = 1 ]; then
		check "ping-$mtu" bash -c "all_answered -M do -s $((mtu - 28)) -c 50 -i 0.02 $pair_ip"
		check "ping-fragments-$mtu" bash -c "all_answered -s 30000 -c 5 -i 0.05 $pair_ip"
	fi
	check_listens=$(listens_tcp 5201)
	across "tcp-$mtu" iperf3 -s -1 -- iperf3 -c "$pair_ip" -t 2 -J
	across "tcp-reverse-$mtu" iperf3 -s -1 -- iperf3 -c "$pair_ip" -t 2 -R -J
	across "tcp-both-ways-$mtu" iperf3 -s -1 -- iperf3 -c "$pair_ip" -t 2 --bidir -P 2 -J
	across "udp-$mtu" iperf3 -s -1 -- iperf3 -c "$pair_ip" -u -b 20M -l $((mtu - 28)) -t 2 -J
	check_listens=$(listens_tcp 5300)
	across "file-$mtu" bash -c serve_file -- bash -c "file_arrives $pair_ip"
done

case $LAB_HOST in
1)
	ssh-keygen -q -t ed25519 -N '' -f /tmp/key && cp /tmp/key.pub /lab/key.pub || fail "ssh-keygen"
	;;
2)
	mkdir -p /run/sshd
	ssh-keygen -q -t ed25519 -N '' -f /tmp/host && chmod 755 /run/sshd || fail "ssh-keygen"
	/usr/sbin/sshd -p 5322 -h /tmp/host -o AuthorizedKeysFile=/lab/key.pub -o StrictModes=no -o UsePAM=no || fail "sshd"
	;;
esac
barrier ssh
[ "$LAB_HOST" != 1 ] || check ssh bash -c "ssh -i /tmp/key -p 5322 -o StrictHostKeyChecking=no root@$pair_ip cat /tmp/file | cmp - /tmp/file"
barrier "ssh done"

# tx_timestamp ADDRESS: the kernel says when it sent a datagram, as the interface's `ethtool -T` promises.
tx_timestamp() {
	python3 - "$1" <<-'END'
		import select, socket, sys
		SO_TIMESTAMPING, TX_SOFTWARE, SOFTWARE = 37, 1 << 1, 1 << 4
		sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		sender.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE)
		sender.sendto(b"when?", (sys.argv[1], 9))
		select.select([], [], [sender], 5)
		_, notes, _, _ = sender.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
		sys.exit((socket.SOL_SOCKET, SO_TIMESTAMPING) not in [note[:2] for note in notes])
	END
}
export -f tx_timestamp

if [ "$LAB_HOST" = 1 ]; then
	check tx-timestamp bash -c "tx_timestamp $pair_ip"
	check ping-ipv6 bash -c "all_answered -c 5 -i 0.1 $(</lab/link-local.2)%$rdma_net"
	for mtu in 1500 9000; do
		lab result "tcp_mbit_mtu_$mtu" "$(sed -n '/^{/,/^}/p' "/lab/output/tcp-$mtu" | jq '.end.sum_received.bits_per_second / 1e6 | floor')"
		lost=$(sed -n '/^{/,/^}/p' "/lab/output/udp-$mtu" | jq .end.sum.lost_percent)
		lab result "udp_lost_percent_mtu_$mtu" "$lost"
		# How much depends on what else this machine does.
		jq -en "$lost < 90" >/dev/null || fail "UDP of 20 Mbit/s lost $lost %"
	done
fi
ip -s link show "$rdma_net"
# stats WAY FIGURE: of the interface.
stats() { ip -s -j link show "$rdma_net" | jq ".[0].stats64.$1.$2"; }
# The file went from host 2 to host 1 twice, beside much else.
[ "$(stats "$([ "$LAB_HOST" = 1 ] && echo rx || echo tx)" bytes)" -gt $((2 * 8 * 1048576)) ] || fail "$rdma_net does not count its bytes"
[ "$(stats rx errors) $(stats tx errors)" = "0 0" ] || fail "$rdma_net counts errors"
across_end
