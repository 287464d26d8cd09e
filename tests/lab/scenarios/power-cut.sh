#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Host 2 loses its power under traffic; host 1 sees an unplug; host 2 boots again and the link comes back.
# lab: --no-module
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh

absent() { [ -z "$(tbnet_devices host2)" ]; }
export -f absent tbnet_devices

tbnet_up
if [ "$LAB_HOST" = 1 ]; then
	answers host2
	ping -q -i 0.02 host2 >/dev/null &
	pinger=$!
	sleep 1
	lab kill 2
	lab wait 30 bash -c absent || fail "the interface outlived its peer"
	lab boot 2
	tbnet_up
	answers host2
	kill "$pinger"
fi
# Host 2 comes here in its second life only: the first one ends before the barrier opens.
barrier end
[ "$LAB_HOST" = 1 ] || [ "$LAB_BOOT" = 2 ] || fail "host 2 was to be restarted"
