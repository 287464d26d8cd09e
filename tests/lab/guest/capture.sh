# SPDX-License-Identifier: GPL-2.0-only
# What is on the wire:   . /checkout/tests/lab/guest/capture.sh     after pair.sh

# capture FILE OPTIONS...: tcpdump writes down what passes $rdma_net from now on, until capture_end.
capture() {
	capture_file=$1
	shift
	tcpdump -i "$rdma_net" -U -w "$capture_file" "$@" 2>"$capture_file.log" &
	capture_pid=$!
	lab wait 20 grep -q listening "$capture_file.log" || fail "tcpdump: $(<"$capture_file.log")"
}

# capture_end: ends it when all is written. It reads what it has seen after up to a second, and forgets that when it is ended before.
capture_end() {
	lab wait 30 bash -c "size=\$(stat -c %s $capture_file); sleep 1.5; [ \$(stat -c %s $capture_file) = \$size ]" || fail "packets without end"
	kill -INT "$capture_pid"
	wait "$capture_pid"
	cat "$capture_file.log"
	grep -q "^0 packets dropped by kernel" "$capture_file.log" || fail "not everything was captured"
}
