#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Upstream rxe over thunderbolt_net: the baseline that everything is compared with.
# lab: --no-module
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh

tbnet_up
device=$(tbnet_devices "host$((3 - LAB_HOST))")
modprobe -a rdma_rxe ib_uverbs || fail "no rdma_rxe"
rdma link add rxe0 type rxe netdev "$device" || fail "rdma link add"
barrier up
answers "host$((3 - LAB_HOST))"
# The carrier is there; the port follows it a moment later.
lab wait 30 grep -q ACTIVE /sys/class/infiniband/rxe0/ports/1/state || fail "the port of rxe0 did not become active"
# The GID of 10.0.0.N; its place in the table depends on the order in which addresses came.
gid=$(grep -l -i '0000:0000:0000:0000:0000:ffff:0a00' /sys/class/infiniband/rxe0/ports/1/gids/* | head -n 1)
[ -n "$gid" ] || fail "no IPv4 GID"
gid=${gid##*/}

# both TEST OPTIONS...: host 2 serves, host 1 connects; the output of host 1 is left in /tmp/TEST.
both() {
	local test=$1
	shift
	if [ "$LAB_HOST" = 2 ]; then
		"$test" -d rxe0 -x "$gid" -F "$@" >"/tmp/$test" 2>&1 &
		local server=$!
		lab wait 10 sh -c 'ss -Hltn "sport = 18515" | grep -q .' || fail "$test does not listen: $(<"/tmp/$test")"
		barrier "$test"
		wait "$server" || fail "$test: $(<"/tmp/$test")"
	else
		barrier "$test"
		"$test" -d rxe0 -x "$gid" -F "$@" host2 >"/tmp/$test" 2>&1 || fail "$test: $(<"/tmp/$test")"
		cat "/tmp/$test"
	fi
}

both ib_write_bw -s 1048576 -n 100 --report_gbits
[ "$LAB_HOST" = 2 ] || lab result rxe_write_bw_MBps "$(awk '$1 == 1048576 { printf "%.1f", $4 * 1000 / 8 }' /tmp/ib_write_bw)"
both ib_write_lat -s 64 -n 500
[ "$LAB_HOST" = 2 ] || lab result rxe_write_lat_us "$(awk '$1 == 64 { print $5 }' /tmp/ib_write_lat)"
barrier end
rdma link delete rxe0
