#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Host 1 sleeps under load, as far as a virtual machine can: the kernel's own test suspends all devices, the host router too, and
# resumes them five seconds later. RDMA connections that are patient (tests/soak, NCCL's timeout) go on after it, every byte checked;
# the rail says goodbye before and is back after, on the same interface and RDMA device.
# lab-long: --rails 1 --mem 768
# lab: --rails 2 --mem 768
# On 7.3 the folders that a guest shares with the lab do not come back: mounting them again waits for ever. The rail does, and soak passes.
# lab-kernels: 7.2 debug
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/usb4.sh

# The folders shared with the lab do not live through it: their driver cannot suspend.
sleep_five_seconds() {
	local driver=/sys/bus/virtio/drivers/9pnet_virtio device devices=()
	for device in "$driver"/virtio*; do
		devices+=("${device##*/}")
	done
	umount /lab && umount /checkout || fail "somebody uses the shared folders: $(ls -l /proc/[0-9]*/{cwd,exe,fd} 2>/dev/null | grep -E '/(lab|checkout)')"
	for device in "${devices[@]}"; do echo "$device" >$driver/unbind; done
	echo platform >/sys/power/pm_test && echo freeze >/sys/power/state || fail "no sleep: $(dmesg | tail -n 5)"
	for device in "${devices[@]}"; do echo "$device" >$driver/bind; done
	mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose checkout /checkout && mount -t 9p -o trans=virtio,version=9p2000.L,cache=none lab /lab ||
		fail "the shared folders are gone"
}

cd /
cp /checkout/out/soak/soak /run/soak
pair_up
barrier up
pair_answers
pair_all_rails
index=$(<"/sys/class/net/$rdma_net/ifindex")
soak=(/run/soak -d "$rdma_dev" -g "$rdma_gid" --hang 60)
if [ "$LAB_HOST" = 2 ]; then
	"${soak[@]}" >/run/soaked 2>&1 </dev/null &
	pid=$!
	lab wait 10 sh -c "ss -Hltn 'sport = 18700' | grep -q ." || fail "soak does not listen: $(</run/soaked)"
fi
barrier listens
if [ "$LAB_HOST" = 1 ]; then
	"${soak[@]}" --rc 16 --timeout 20 --seconds 25 "$pair_ip" >/run/soaked 2>&1 </dev/null &
	pid=$!
	sleep 5
	sleep_five_seconds
	usb4_says "rail 0 is down, cable .*: this host sleeps"
else
	lab wait 30 bash -c "dmesg | grep -q 'usb4_rxe: .*rail 0 is down, cable .*: the peer sleeps'" || fail "nobody slept"
fi
wait "$pid"
status=$?
grep -hE '^soak:' /run/soaked
[ "$status" = 0 ] || fail "soak: status $status: $(tail -n 20 /run/soaked)"
pair_all_rails
[ "$(<"/sys/class/net/$rdma_net/ifindex")" = "$index" ] || fail "it is another interface"
barrier end
