# SPDX-License-Identifier: GPL-2.0-only
# USB4STREAM, the kernel's raw byte stream over a cable (Linux 7.3):   . /checkout/tests/lab/guest/stream.sh
#
# Host 1 writes, host 2 reads and compares. Each call is made by both.

stream_peers() { [ -n "$(tb_peers)" ]; }

# A stream that is made after the peer's offer has come takes its HopIDs from there. The offer comes some time later, as a change of the
# peer's properties.
stream_join() { mkdir -p "$stream" && [ "$(<"$stream/in_hopid")" -gt 0 ] || { rmdir "$stream"; false; }; }
export -f stream_peers stream_join tb_peers

# stream_up: /dev/tbstream0 on both hosts.
stream_up() {
	tb_load thunderbolt-stream
	lab wait 60 bash -c stream_peers || fail "no peer"
	export stream=/sys/kernel/config/thunderbolt/stream/$(tb_peers | head -n 1 | cut -d' ' -f1).0/data
	barrier "stream loaded"
	if [ "$LAB_HOST" = 1 ]; then
		lab wait 30 mkdir -p "$stream" || fail "cannot make the stream"
		# -1: any free HopID, which the peer learns from the stream's service.
		echo -1 >"$stream/in_hopid"
		echo -1 >"$stream/out_hopid"
		barrier "stream offered"
	else
		barrier "stream offered"
		lab wait 30 bash -c stream_join || fail "the peer's stream was not announced"
	fi
	lab wait 30 test -c /dev/tbstream0 || fail "no /dev/tbstream0"
	barrier "stream open"
}

# stream_send MEGABYTES READER: sends so many bytes at random to READER, which is called with that number and the peer's end as its input;
# host 1 prints MB/s.
stream_send() {
	if [ "$LAB_HOST" = 1 ]; then
		head -c "${1}M" /dev/urandom >/tmp/data
		sha256sum </tmp/data >/lab/sum
		barrier "stream go"
		dd if=/tmp/data of=/dev/tbstream0 bs=64k 2>/tmp/dd || fail "write: $(</tmp/dd)"
		sed -nE 's/^([0-9]+) bytes.* copied, ([0-9.]+) s,.*/\1 \2/p' /tmp/dd | awk '{ printf "%.1f\n", $1 / $2 / 1e6 }'
		rm /tmp/data
	else
		# Opened before the writer starts: the driver (7.3) zeroes its count of received frames after it has posted its
		# buffers, so frames that arrive while it opens are never reported, and the reader waits for as many for ever.
		exec 3</dev/tbstream0
		barrier "stream go"
		"$2" "$1" <&3 || exit
		exec 3<&-
	fi
	barrier "stream done"
}

# One process that reads as much at once as the writer writes.
stream_read() { timeout 60 dd bs=64k count=$((16 * $1)) iflag=fullblock status=none; }
stream_check() { stream_read "$1" | sha256sum >/tmp/sum && cmp /tmp/sum /lab/sum || fail "the bytes that came are not those that were sent"; }
stream_drop() { stream_read "$1" >/dev/null; }

# stream_bandwidth MEGABYTES: MB/s on host 1, with nothing done to what arrives: that it arrives whole is checked before, with less.
stream_bandwidth() {
	local checked
	checked=$(stream_send 8 stream_check) || fail "$checked"
	stream_send "$1" stream_drop
}

# stream_down: everything of it goes.
stream_down() {
	barrier "stream closed"
	rmdir "$stream" && rmdir "${stream%/data}" || fail "cannot remove the stream"
	rmmod thunderbolt-stream || fail "rmmod thunderbolt-stream"
	barrier "stream gone"
}
