#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Kernel users: an NVMe target and a host on the same device. What is written comes back, also over new connections, and both let go
# of a device that goes away under them.
# lab: --hosts 1 --rails 0 --smp 2 --timeout 300 --mem 768
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh

size=16 # MiB
target=/sys/kernel/config/nvmet

target_up() {
	modprobe -a nvmet-rdma nvme-rdma || return
	truncate -s 64M /tmp/disk
	mkdir -p "$target/subsystems/lab/namespaces/1" "$target/ports/1"
	echo 1 >"$target/subsystems/lab/attr_allow_any_host"
	echo 1 >"$target/subsystems/lab/namespaces/1/buffered_io"
	echo -n /tmp/disk >"$target/subsystems/lab/namespaces/1/device_path"
	echo 1 >"$target/subsystems/lab/namespaces/1/enable" || return
	echo rdma >"$target/ports/1/addr_trtype"
	echo ipv4 >"$target/ports/1/addr_adrfam"
	echo "$rdma_ip" >"$target/ports/1/addr_traddr"
	echo 4420 >"$target/ports/1/addr_trsvcid"
	ln -s "$target/subsystems/lab" "$target/ports/1/subsystems/lab"
}

target_down() {
	rm -f "$target/ports/1/subsystems/lab"
	rmdir "$target/ports/1" "$target/subsystems/lab/namespaces/1" "$target/subsystems/lab"
}

# connect OPTIONS...: connects and waits for the disk.
connect() {
	nvme connect -t rdma -a "$rdma_ip" -s 4420 -n lab "$@" && lab wait 20 test -b /dev/nvme0n1
}

disconnect() {
	nvme disconnect -n lab && lab wait 20 test ! -e /dev/nvme0n1
}

# compare OFFSET: the MiBs of the disk from there on are the file.
compare() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	dd if=/dev/nvme0n1 of=/tmp/back bs=1M count=$size skip="$1" iflag=direct status=none
	cmp /tmp/data /tmp/back
}

# Small requests travel inside the capsules, large ones by RDMA_READ and RDMA_WRITE of fast-registered memory.
write_sizes() {
	dd if=/tmp/data of=/dev/nvme0n1 bs=1M seek=0 oflag=direct status=none &&
		dd if=/tmp/data of=/dev/nvme0n1 bs=64k seek=256 oflag=direct status=none &&
		dd if=/tmp/data of=/dev/nvme0n1 bs=16k seek=2048 oflag=direct status=none
}

# parallel: writers of the last quarter of the disk and readers at once, on all queues.
parallel() {
	local pids=() i status=0
	for i in 0 1 2 3; do
		dd if=/tmp/data of=/dev/nvme0n1 bs=128k count=32 skip=$((i * 32)) seek=$((384 + i * 32)) oflag=direct conv=notrunc status=none &
		pids+=($!)
		dd if=/dev/nvme0n1 of=/dev/null bs=32k skip=1024 count=128 iflag=direct status=none &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || status=1
	done
	return $status
}
export -f connect disconnect compare write_sizes parallel target_up target_down
export size target rdma_ip

rdma_up
before=$(rdma_resources)
head -c "${size}M" /dev/urandom >/tmp/data
check target bash -c target_up
check connect bash -c "connect -i 2"
check write bash -c write_sizes
for offset in 0 16 32; do
	check "compare-at-$offset" bash -c "compare $offset"
done
check parallel bash -c parallel
check compare-at-48 bash -c "compare 48"
check disconnect bash -c disconnect
for round in 1 2 3; do
	check "connect-$round" bash -c "connect -i $round -Q 32"
	check "compare-$round" bash -c "compare 16"
	check "disconnect-$round" bash -c disconnect
done
check connect-write-queue bash -c "connect -i 1 -W 1"
check compare-with-write-queue bash -c "compare 32"
check disconnect-write-queue bash -c disconnect

# The device goes away while both use it.
check connect-again bash -c "connect -i 2"
dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=100000 oflag=direct status=none 2>/dev/null &
writer=$!
sleep 1
check delete-under-use rdma link delete "$rdma_dev"
check let-go lab wait 60 test ! -e "/sys/class/infiniband/$rdma_dev"
nvme disconnect -n lab >/dev/null 2>&1
wait "$writer"
check target-down bash -c target_down
check disk-gone lab wait 30 test ! -e /dev/nvme0n1
check modules-go rmmod nvme-rdma nvmet-rdma
rdma_link_up
[ "$(rdma_resources)" = "$before" ] || fail "resources: $before before, $(rdma_resources) after"
check works-again bash -c ". /checkout/tests/lab/guest/rdma.sh; rdma_wait_active; rdma_works"
checks_end
rdma_down
