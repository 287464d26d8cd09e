#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A cable comes while its host router loses its driver: the peer loads its module, or the cable is plugged in, around that moment. No ring
# may outlive the host router. Then the module is loaded beside what the core leaves behind of the domain: it must not touch that.
# lab@7.3: --timeout 240
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
usb4_up
answers "$peer"
barrier up

# some_time MS: sleeps up to so long.
some_time() { sleep "$(printf '0.%03d' $((RANDOM % $1)))"; }

# In turn: the module is loaded, the cable is plugged in.
for round in $(seq $((2 * $(rounds 2)))); do
	if [ "$LAB_HOST" = 2 ]; then
		if [ $((round % 2)) = 1 ]; then
			rmmod usb4_rxe || fail "round $round: rmmod"
		else
			lab fabric unplug 0
		fi
	fi
	lab wait 30 bash -c usb4_has_none || fail "round $round: carrier without a peer"
	barrier "apart $round"
	if [ "$LAB_HOST" = 2 ]; then
		some_time 500
		if [ $((round % 2)) = 1 ]; then
			insmod "$usb4_module" || fail "round $round: insmod"
		else
			lab fabric plug 0
		fi
	else
		[ $((round % 2)) = 1 ] || sleep 1
		some_time 999
		usb4_unbind
		# What is left of the domain stays in the tree (7.2, 7.3), and a driver that comes is shown it.
		rmmod usb4_rxe && insmod "$usb4_module" || fail "round $round: the module cannot be loaded again"
		sleep 1
		usb4_gone || fail "round $round: devices below a domain that is gone"
		usb4_bind
	fi
	barrier "round $round"
	[ ! -e /lab/left-behind ] || break
	usb4_up
	answers "$peer"
	barrier "again $round"
done
[ "$LAB_HOST" != 1 ] || lab result rounds "$round"
barrier end
