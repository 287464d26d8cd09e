#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The cable is pulled and plugged in again, three times, with a ping running.
# lab: --no-module
. /checkout/tests/lab/guest/lib.sh

peer=host$((3 - LAB_HOST))
export peer
present() { [ -n "$(tbnet_devices "$peer")" ]; }
absent() { [ -z "$(tbnet_devices "$peer")" ]; }
export -f present absent tbnet_devices

tbnet_up
lab barrier up
[ "$LAB_HOST" != 1 ] || answers host2
for round in 1 2 3; do
	ping -q -i 0.05 "host$((3 - LAB_HOST))" >/dev/null &
	pinger=$!
	lab barrier "pull $round"
	[ "$LAB_HOST" != 1 ] || lab fabric unplug 0
	lab wait 30 bash -c absent || fail "round $round: the interface outlived its cable"
	[ -z "$(tb_peers)" ] || fail "round $round: the XDomain outlived its cable"
	lab barrier "pulled $round"
	[ "$LAB_HOST" != 1 ] || lab fabric plug 0
	tbnet_up
	lab barrier "plugged $round"
	answers "$peer"
	kill "$pinger"
done
lab barrier end
