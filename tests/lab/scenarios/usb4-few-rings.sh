#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# thunderbolt_net has the only ring of the host router: the kernel log says what is missing and who has it, and the rail comes up by itself
# when it is given back.
# lab@7.2: --topology tests/lab/topologies/few-rings.toml
# On the debug kernel thunderbolt_net cannot be closed (usb4-tbnet).
# lab-kernels: 7.2 7.3
. /checkout/tests/lab/guest/usb4.sh

peer=host$((3 - LAB_HOST))
rmmod usb4_rxe || fail "rmmod"
barrier without
tb_load thunderbolt_net
has_tbnet() { [ -n "$(tbnet_devices "$peer")" ]; }
export peer
export -f has_tbnet tbnet_devices tb_peers
lab wait 60 bash -c has_tbnet || fail "no thunderbolt_net interface"
device=$(tbnet_devices "$peer" | head -n 1)
ip address replace "10.9.0.$LAB_HOST/24" dev "$device"
ip link set "$device" up
barrier up
answers 10.9.0.$((3 - LAB_HOST))

modprobe ib_core && insmod "$usb4_module" || fail "insmod"
# One end hears of it from the other, if that was the first to try.
says_why() { dmesg | grep -q "usb4_rxe: .*cannot get rings (ENOSPC); the host router has no rings .*thunderbolt_net" || dmesg | grep -q "usb4_rxe: .*refused by the peer"; }
export -f says_why
lab wait 60 bash -c says_why || fail "the kernel log does not say what is missing: $(dmesg | tail -n 5)"
dmesg | grep "usb4_rxe:"
usb4_has_none || fail "carrier without a ring"
answers 10.9.0.$((3 - LAB_HOST))
barrier told

ip link set "$device" down
usb4_up
answers "$peer"
barrier end
