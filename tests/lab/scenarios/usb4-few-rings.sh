#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# thunderbolt_net has all rings of the host router: the kernel log says what is missing and who has it, and the rails come up by themselves
# when they are given back.
# lab@7.2: --topology tests/lab/topologies/few-rings.toml
# On the debug kernel thunderbolt_net cannot be closed (usb4-tbnet).
# lab-kernels: 7.2 7.3
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
rmmod usb4_rxe || fail "rmmod"
barrier without
tb_load thunderbolt_net
has_tbnet() { [ "$(tbnet_devices "$peer" | wc -l)" = 2 ]; }
export peer
export -f has_tbnet tbnet_devices tb_peers
lab wait 60 bash -c has_tbnet || fail "no two interfaces of thunderbolt_net: $(tb_peers)"
mapfile -t devices < <(tbnet_devices "$peer")
for cable in 0 1; do
	ip address replace "10.9.$cable.$LAB_HOST/24" dev "${devices[cable]}"
	ip link set "${devices[cable]}" up
done
barrier up
answers 10.9.0.$((3 - LAB_HOST))
answers 10.9.1.$((3 - LAB_HOST))
barrier alone

modprobe ib_core && insmod "$usb4_module" || fail "insmod"
says_why() { dmesg | grep -q "usb4_rxe: .*cannot get rings (ENOSPC); the host router has no rings .*thunderbolt_net"; }
export -f says_why
lab wait 60 bash -c says_why || fail "the kernel log does not say what is missing: $(dmesg | tail -n 5)"
dmesg | grep "usb4_rxe:"
usb4_has_none || fail "carrier without a ring"
answers 10.9.0.$((3 - LAB_HOST))
barrier told

for device in "${devices[@]}"; do ip link set "$device" down; done
usb4_up
lab wait 60 bash -c "usb4_rails 2" || fail "one cable: $(usb4_peers)"
answers "$peer"
barrier end
