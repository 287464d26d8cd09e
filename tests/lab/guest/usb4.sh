# SPDX-License-Identifier: GPL-2.0-only
# Shell functions for scenarios on real rails:   . /checkout/tests/lab/guest/usb4.sh

. /checkout/tests/lab/guest/lib.sh

usb4_net=usb4eth0 usb4_dev=usb4_rxe0
usb4_module=/lab/.lab/usb4_rxe.ko
export usb4_net usb4_dev usb4_module

# usb4_has_carrier: a rail is up. The interface has to be up as well, else nobody can tell.
usb4_has_carrier() { [ "$(cat /sys/class/net/$usb4_net/carrier 2>/dev/null)" = 1 ]; }
usb4_has_none() { ! usb4_has_carrier; }
# usb4_rails N: so many rails are up, by the sum of their speeds (each 40 Gb/s).
usb4_rails() { [ "$(cat /sys/class/net/$usb4_net/speed 2>/dev/null)" = $(($1 * 40000)) ]; }
usb4_state() { grep -q "$1" "/sys/class/infiniband/$usb4_dev/ports/1/state"; }
usb4_gone() { [ ! -e "/sys/class/net/$usb4_net" ] && [ ! -e "/sys/class/infiniband/$usb4_dev" ]; }
usb4_came_back() { [ -e "/sys/class/net/$usb4_net" ] || dmesg | grep -q "failed to add XDomain device"; }
export -f usb4_has_carrier usb4_has_none usb4_rails usb4_state usb4_gone usb4_came_back

# usb4_up: loads what is not loaded, waits for the device that comes by itself, and gives it the address 10.0.0.N.
usb4_up() {
	tb_load
	[ -d /sys/module/usb4_rxe ] || { modprobe ib_core && insmod "$usb4_module"; } || fail "insmod"
	lab wait 60 [ -e "/sys/class/net/$usb4_net" ] || fail "no $usb4_net: $(dmesg | tail -n 5)"
	ip address replace "10.0.0.$LAB_HOST/24" dev "$usb4_net" && ip link set "$usb4_net" up || fail "ip"
	lab wait 30 bash -c usb4_has_carrier || fail "no carrier: $(dmesg | tail -n 5)"
}

# usb4_unbind: takes its driver from this host's only host router, and so the device; usb4_bind gives it back.
usb4_unbind() {
	usb4_nhi=$(basename /sys/bus/pci/drivers/thunderbolt/0000:*)
	timeout 60 bash -c "echo $usb4_nhi >/sys/bus/pci/drivers/thunderbolt/unbind" || fail "unbind"
	usb4_gone || fail "devices without a host router"
}

# A domain that goes leaves its XDomains in the tree until its next hotplug event (7.2, 7.3). If that comes too late, as on the debug
# kernel, the new XDomain cannot be added, by thunderbolt_net's users neither, and only a reboot helps: then there is /lab/left-behind.
usb4_bind() {
	echo "$usb4_nhi" >/sys/bus/pci/drivers/thunderbolt/bind || fail "bind"
	lab wait 30 bash -c usb4_came_back || fail "no device, and the core does not say why: $(dmesg | tail -n 5)"
	[ -e "/sys/class/net/$usb4_net" ] || touch /lab/left-behind
}

# usb4_says TEXT: the kernel log has such a line of ours.
usb4_says() { lab wait 5 sh -c "dmesg | grep -q -- 'usb4_rxe: .*$1'" || fail "the kernel log does not say '$1'"; }

# usb4_peers: what the module says of its peers and rails.
usb4_peers() {
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	cat /sys/kernel/debug/usb4_rxe/peers
}

# usb4_rail SECTION COLUMN [RAIL]: a figure of the table in it, as "sending posted" or "lives given_up".
usb4_rail() {
	usb4_peers | awk -v section="$1" -v column="$2" -v rail="${3-0}" '
		/^  [a-z]/ { here = $1 == section; gsub("in flight", "in_flight"); gsub("given up", "given_up"); gsub("by peer", "by_peer")
			at = 0; for (i = 2; i <= NF; i++) if ($i == column) at = i + 1 }
		here && $1 == "rail" && $2 == rail && at { print $at }'
}

# usb4_counter NAME: a counter below the table.
usb4_counter() { usb4_peers | awk -v name="$1" '$1 == name && NF == 2 { print $2 }'; }

# usb4_is_quiet: all that was sent has left the rings, and the rings count what the rails count.
usb4_is_quiet() {
	usb4_peers | awk '
		/^  [a-z]/ { sending = $1 == "sending" }
		sending && $1 == "rail" { posted += $3; busy += $5 || $8 >= 64 }
		$1 == "tx_frames" { frames = $2 }
		END { exit !(frames > 0 && frames == posted && !busy) }'
}

# figure NAME VALUE: writes down a figure of ours; after a barrier, theirs NAME is the peer's.
figure() { echo "$2" >"/lab/$1.$LAB_HOST"; }
theirs() { cat "/lab/$1.$((3 - LAB_HOST))"; }

# usb4_agree NAME [RAIL]: both ends agree on how many frames there were, in the first life of the rail. Some may be sent meanwhile, so the
# peer's count lies between two of ours.
usb4_agree() {
	local name=$1 rail=${2-0} before after
	lab wait 20 bash -c usb4_is_quiet || fail "$name: not quiet: $(usb4_peers)"
	before=$(usb4_rail sending posted "$rail")
	barrier "$name before"
	figure came $(($(usb4_rail receiving frames "$rail") + $(usb4_rail receiving missing "$rail")))
	barrier "$name came"
	after=$(usb4_rail sending posted "$rail")
	[ "$before" -le "$(theirs came)" ] && [ "$(theirs came)" -le "$after" ] ||
		fail "$name: $before to $after frames sent, $(theirs came) came or are missed: $(usb4_peers)"
	barrier "$name after"
}
export -f usb4_peers usb4_rail usb4_counter usb4_is_quiet
