# SPDX-License-Identifier: GPL-2.0-only
# An NVMe target on the RDMA device, and a host that uses it:   . /checkout/tests/lab/guest/nvme.sh
#
# nvme_address is the address of the target. What runs in a shell of its own (checks do) finds everything exported.

nvme_size=16 # MiB of test data
nvme_target=/sys/kernel/config/nvmet

nvme_target_up() {
	modprobe nvmet-rdma || return
	truncate -s 64M /tmp/disk
	mkdir -p "$nvme_target/subsystems/lab/namespaces/1" "$nvme_target/ports/1"
	echo 1 >"$nvme_target/subsystems/lab/attr_allow_any_host"
	echo 1 >"$nvme_target/subsystems/lab/namespaces/1/buffered_io"
	echo -n /tmp/disk >"$nvme_target/subsystems/lab/namespaces/1/device_path"
	echo 1 >"$nvme_target/subsystems/lab/namespaces/1/enable" || return
	echo rdma >"$nvme_target/ports/1/addr_trtype"
	echo ipv4 >"$nvme_target/ports/1/addr_adrfam"
	echo "$nvme_address" >"$nvme_target/ports/1/addr_traddr"
	echo 4420 >"$nvme_target/ports/1/addr_trsvcid"
	ln -s "$nvme_target/subsystems/lab" "$nvme_target/ports/1/subsystems/lab"
}

nvme_target_down() {
	rm -f "$nvme_target/ports/1/subsystems/lab"
	rmdir "$nvme_target/ports/1" "$nvme_target/subsystems/lab/namespaces/1" "$nvme_target/subsystems/lab"
}

# nvme_connect OPTIONS...: connects and waits for the disk.
nvme_connect() {
	modprobe nvme-rdma && nvme connect -t rdma -a "$nvme_address" -s 4420 -n lab "$@" && lab wait 20 test -b /dev/nvme0n1
}

nvme_disconnect() {
	nvme disconnect -n lab && lab wait 20 test ! -e /dev/nvme0n1
}

# nvme_compare OFFSET: the MiBs of the disk from there on are the test data.
nvme_compare() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	dd if=/dev/nvme0n1 of=/tmp/back bs=1M count="$nvme_size" skip="$1" iflag=direct status=none
	cmp /tmp/data /tmp/back
}

# nvme_write_sizes: small requests travel inside the capsules, large ones by RDMA_READ and RDMA_WRITE of fast-registered memory.
nvme_write_sizes() {
	dd if=/tmp/data of=/dev/nvme0n1 bs=1M seek=0 oflag=direct status=none &&
		dd if=/tmp/data of=/dev/nvme0n1 bs=64k seek=256 oflag=direct status=none &&
		dd if=/tmp/data of=/dev/nvme0n1 bs=16k seek=2048 oflag=direct status=none
}

# nvme_parallel: writers of the last quarter of the disk, and readers of what nvme_write_sizes wrote, at once on all queues.
nvme_parallel() {
	local pids=() i status=0
	for i in 0 1 2 3; do
		dd if=/tmp/data of=/dev/nvme0n1 bs=128k count=32 skip=$((i * 32)) seek=$((384 + i * 32)) oflag=direct conv=notrunc status=none &
		pids+=($!)
		dd if=/dev/nvme0n1 bs=32k skip=1024 count=128 iflag=direct status=none | cmp -n 4194304 /tmp/data - &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || status=1
	done
	return $status
}
export -f nvme_target_up nvme_target_down nvme_connect nvme_disconnect nvme_compare nvme_write_sizes nvme_parallel
export nvme_size nvme_target
