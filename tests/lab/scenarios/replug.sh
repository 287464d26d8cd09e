#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The cable is pulled and plugged in again, twice, with a ping running.
# lab@7.2: --no-module
. /checkout/tests/lab/guest/lib.sh

peer=host$((3 - LAB_HOST))
export peer
absent() { [ -z "$(tbnet_devices "$peer")$(tb_peers)" ]; }
export -f absent tbnet_devices tb_peers

tbnet_up
barrier up
[ "$LAB_HOST" != 1 ] || answers host2
for round in 1 2; do
	ping -q -i 0.05 "host$((3 - LAB_HOST))" >/dev/null &
	pinger=$!
	barrier "pull $round"
	[ "$LAB_HOST" != 1 ] || lab fabric unplug 0
	lab wait 30 bash -c absent || fail "round $round: interface or XDomain outlived the cable"
	barrier "pulled $round"
	[ "$LAB_HOST" != 1 ] || lab fabric plug 0
	tbnet_up
	barrier "plugged $round"
	answers "$peer"
	kill "$pinger"
done
barrier end
