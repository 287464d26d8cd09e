# SPDX-License-Identifier: GPL-2.0-only
# Shell functions for scripts that run in lab guests:   . /checkout/tests/lab/guest/lib.sh

set -u -o pipefail

# fail TEXT...: ends the script with a reason.
fail() {
	echo "FAIL: $*"
	exit 1
}

# rounds N: how many rounds to go: N, less on a kernel on which everything takes longer, but one; more when there is time (--long).
rounds() { echo $((($1 * (${LAB_LONG-0} * 2 + 1) + ${LAB_PATIENCE-1} - 1) / ${LAB_PATIENCE-1})); }

# barrier NAME: waits for the other hosts; ends the script when one of them has failed.
barrier() { lab barrier "$1" || exit 1; }

# tb_load MODULE...: loads thunderbolt and the given modules.
tb_load() {
	modprobe -a thunderbolt "$@" || fail "cannot load thunderbolt $*"
	# Without a cable the host router would go to sleep after 15 s, and with it everything a script looks at.
	local control
	for control in /sys/bus/pci/drivers/thunderbolt/*/power/control; do
		echo on >"$control"
	done
}

# tb_peers: one line for every cable to another host that is up: XDomain, peer's host name.
tb_peers() {
	local xdomain
	for xdomain in /sys/bus/thunderbolt/devices/*-*; do
		[ -e "$xdomain/device_name" ] && [ -e "$xdomain/rx_lanes" ] && [ -e "$xdomain/remote_uuid" -o -e "$xdomain/unique_id" ] || continue
		case $(<"$xdomain/device_name") in
		host*) echo "${xdomain##*/} $(<"$xdomain/device_name")" ;;
		esac
	done
}

# tbnet_devices HOST: the thunderbolt_net interfaces that lead to that host.
tbnet_devices() {
	local device name
	for device in /sys/class/net/*; do
		[ "$(basename "$(readlink -f "$device/device/driver")")" = thunderbolt-net ] || continue
		name=$(readlink -f "$device/device/..")/device_name
		[ -e "$name" ] && [ "$(<"$name")" = "$1" ] && echo "${device##*/}"
	done
	return 0
}

# tbnet_up [HOST]: brings thunderbolt_net up towards HOST (the other one of two by default) and gives this host the
# address 10.0.0.N there.
tbnet_up() {
	local peer=${1-host$((3 - LAB_HOST))} device
	tb_load thunderbolt_net
	lab wait 60 sh -c "[ -n \"\$(bash -c '. /checkout/tests/lab/guest/lib.sh; tbnet_devices $peer')\" ]" || fail "no thunderbolt_net interface to $peer"
	device=$(tbnet_devices "$peer" | head -n 1)
	ip address replace "10.0.0.$LAB_HOST/24" dev "$device"
	ip link set "$device" up
	echo "$device leads to $peer"
}

# answers HOST [PING OPTIONS...]: waits until HOST answers a ping.
answers() {
	local host=$1
	shift
	lab wait 60 ping -q -c 1 -W 1 "$@" "$host" || fail "$host does not answer to ping"
}
