#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Everything that can go away under load goes away: the cable again and again, the module on either host, the peer's power with a cut or in
# order, the driver of the host router, the host router itself. Users end with errors and in time. But for the last two all comes back, and
# works as before.
# lab@7.3: --mem 640 --timeout 300 -- unplug
# lab@7.2: --mem 640 --timeout 300 -- rmmod
# lab@7.3: --mem 640 --timeout 300 -- kill
# lab@7.2: --mem 640 --timeout 300 -- rebind
# lab@7.3: --mem 640 --timeout 300 -- reset
# lab@7.2: --mem 640 --timeout 300 -- poweroff
# lab-long: --mem 640 --timeout 300 --rails 2 -- rmmod
# lab-long: --mem 640 --timeout 300 --rails 2 -- kill
. /checkout/tests/lab/guest/soak.sh

peer=host$((3 - LAB_HOST))
program=(/checkout/out/soak/soak)
# How often; a round on the debug kernel takes two minutes.
rounds=3 victims=(1 2 1)
[ "$LAB_PATIENCE" = 1 ] || rounds=1 victims=(1 2)
step() { printf '%4d s  host %d  %s\n' "$SECONDS" "$LAB_HOST" "$*"; }

# load_begin NAME [WHOSE]: the soak in the background, which expects to be cut off; the device of host WHOSE may go. It is at work when this returns.
load_begin() {
	load=/lab/output/$1.host$LAB_HOST
	local options=(-d "$rdma_dev" -g "$rdma_gid" --expect-errors --grace 10 --hang $((30 * LAB_PATIENCE)))
	[ "$LAB_HOST" != "${2-}" ] || options+=(--device-may-go)
	if [ "$LAB_HOST" = 2 ]; then
		"${program[@]}" "${options[@]}" >"$load" 2>&1 &
		load_pid=$!
		lab wait 20 bash -c "$(listens_tcp 18700)" || fail "$1: soak does not listen: $(<"$load")"
		barrier "$1 listens"
	else
		barrier "$1 listens"
		"${program[@]}" "${options[@]}" --rc 8 --uc 2 --ud 2 --seconds 200 "$pair_ip" >"$load" 2>&1 &
		load_pid=$!
	fi
	lab wait 30 grep -q ^running "$load" || fail "$1: soak does not begin: $(<"$load")"
	sleep 3
	kill -0 "$load_pid" 2>/dev/null || fail "$1: soak has ended: $(<"$load")"
}

# load_ends NAME: it must end well, that is with errors where they are expected, and in time.
load_ends() {
	local since=$SECONDS
	while kill -0 "$load_pid" 2>/dev/null; do
		[ $((SECONDS - since)) -lt $((90 * LAB_PATIENCE)) ] || fail "$1: soak hangs: $(tail -n 20 "$load"; cat "/proc/$load_pid/stack")"
		sleep 0.1
	done
	wait "$load_pid" || fail "$1: soak: $(tail -n 20 "$load")"
	step "$1: $(tail -n 1 "$load")"
}

works_again() {
	pair_up >/dev/null
	barrier "up again"
	pair_answers
	pair_all_rails
	soak "$1" --rc 8 --uc 2 --ud 2 --seconds 3
}

# The netdev of the peer says that no cable leads there, or is gone.
no_carrier() { [ "$(cat "/sys/class/net/$rdma_net/carrier" 2>/dev/null || echo 0)" = 0 ]; }
export -f no_carrier

pair_up
export rdma_net
pair_all_rails
barrier up
case ${1-unplug} in
unplug)
	pair_answers
	for round in $(seq $rounds); do
		load_begin "unplug-$round"
		barrier loaded
		[ "$LAB_HOST" != 1 ] || lab fabric unplug 0
		lab wait 20 bash -c no_carrier || fail "carrier without a cable"
		load_ends "unplug-$round"
		barrier unplugged
		[ "$LAB_HOST" != 1 ] || lab fabric plug 0
		works_again "after-unplug-$round"
	done
	;;
rmmod)
	pair_answers
	for victim in "${victims[@]}"; do
		load_begin "rmmod-$victim" "$victim"
		barrier loaded
		if [ "$LAB_HOST" = "$victim" ]; then
			timeout 60 rmmod usb4_rxe || fail "rmmod under load"
			step "rmmod done"
			load_ends "rmmod-$victim"
			barrier unloaded
			insmod /lab/.lab/usb4_rxe.ko || fail "insmod"
		else
			lab wait 20 bash -c no_carrier || fail "carrier without a peer"
			load_ends "rmmod-$victim"
			barrier unloaded
		fi
		works_again "after-rmmod-$victim"
	done
	;;
kill)
	if [ "$LAB_BOOT" = 1 ]; then
		pair_answers
		load_begin kill
		[ "$LAB_HOST" != 2 ] || sleep 1000
		lab kill 2
		lab wait 20 bash -c no_carrier || fail "carrier without a peer"
		load_ends kill
		lab boot 2
		# Its new life begins with this script: it comes to the first barrier again.
		pair_up
		barrier up
	fi
	pair_answers
	works_again after-kill
	;;
poweroff)
	if [ "$LAB_BOOT" = 1 ]; then
		pair_answers
		load_begin poweroff 2
		if [ "$LAB_HOST" = 2 ]; then
			# As a kernel goes down when init has ended, only that nobody has ended the users: the devices go under them.
			lab leave
			echo o >/proc/sysrq-trigger
			sleep 1000
		fi
		lab wait 20 bash -c no_carrier || fail "carrier without a peer"
		load_ends poweroff
		dmesg | grep -q "usb4_rxe: .*the peer closed it" || fail "host 2 did not say goodbye: $(dmesg | tail -n 5)"
		lab wait 60 lab boot 2 || fail "host 2 does not go off"
		pair_up
		barrier up
	fi
	pair_answers
	works_again after-poweroff
	;;
rebind)
	pair_answers
	load_begin rebind 1
	barrier loaded
	if [ "$LAB_HOST" = 1 ]; then
		router=$(cd /sys/bus/pci/drivers/thunderbolt && echo 0000:*)
		timeout 60 bash -c "echo $router >/sys/bus/pci/drivers/thunderbolt/unbind" || fail "cannot unbind $router"
		step "unbound"
	fi
	lab wait 30 bash -c no_carrier || fail "carrier without a router"
	load_ends rebind
	# Bound again, 7.2 and 7.3 find the peer only by luck: they leave its old device in the tree when the driver goes, without any
	# service driver too. So this ends without; nothing may be left of ours.
	rmmod usb4_rxe || fail "rmmod usb4_rxe"
	barrier unbound
	;;
reset)
	pair_answers
	load_begin reset 2
	barrier loaded
	# The host router of host 2 forgets everything under its driver's hands. Its peer sees an unplug; it has to bind the driver again,
	# see above.
	[ "$LAB_HOST" != 2 ] || lab fabric reset 2.0
	[ "$LAB_HOST" != 1 ] || lab wait 30 bash -c no_carrier || fail "carrier without a router"
	load_ends reset
	barrier reset
	if [ "$LAB_HOST" = 2 ]; then
		router=$(cd /sys/bus/pci/drivers/thunderbolt && echo 0000:*)
		timeout 60 bash -c "echo $router >/sys/bus/pci/drivers/thunderbolt/unbind" || fail "cannot unbind $router"
	fi
	rmmod usb4_rxe || fail "rmmod usb4_rxe"
	barrier unbound
	;;
*) fail "no such part: $1" ;;
esac
across_end
