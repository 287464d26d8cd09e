#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# USB4STREAM, the kernel's raw byte stream over a cable: the ceiling of what a cable carries here.
# lab: --no-module
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh

megabytes=96
peers() { [ -n "$(tb_peers)" ]; }
export -f peers tb_peers
tb_load thunderbolt-stream
lab wait 60 bash -c peers || fail "no peer"
xdomain=$(tb_peers | cut -d' ' -f1)
stream=/sys/kernel/config/thunderbolt/stream/$xdomain.0/data
barrier loaded
if [ "$LAB_HOST" = 1 ]; then
	lab wait 30 mkdir -p "$stream" || fail "cannot make the stream"
	# -1: any free HopID, which the peer learns from the stream's service.
	echo -1 >"$stream/in_hopid"
	echo -1 >"$stream/out_hopid"
	barrier offered
else
	barrier offered
	# The offer reaches this host some time later, as a change of the peer's properties; only a stream made after
	# that takes its HopIDs from there.
	join() { mkdir -p "$stream" && [ "$(<"$stream/in_hopid")" -gt 0 ] || { rmdir "$stream"; false; }; }
	export -f join
	export stream
	lab wait 30 bash -c join || fail "the peer's stream was not announced"
fi
lab wait 30 test -c /dev/tbstream0 || fail "no /dev/tbstream0"
barrier open
if [ "$LAB_HOST" = 1 ]; then
	head -c ${megabytes}M /dev/urandom >/tmp/data
	sha256sum </tmp/data >/lab/sum
	barrier go
	dd if=/tmp/data of=/dev/tbstream0 bs=64k 2>/tmp/dd || fail "write: $(</tmp/dd)"
	cat /tmp/dd
	lab result usb4stream_MBps "$(awk '/copied/ { print $(NF - 1) }' /tmp/dd)"
else
	# Opened before the writer starts: the driver (7.3) zeroes its count of received frames after it has posted its
	# buffers, so frames that arrive while it opens are never reported, and the reader waits for as many for ever.
	exec 3</dev/tbstream0
	barrier go
	timeout 60 head -c ${megabytes}M <&3 >/tmp/data
	sha256sum </tmp/data >/tmp/sum
	cmp /tmp/sum /lab/sum || fail "the bytes that came are not those that were sent"
fi
barrier end
