#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Kernel users: an NFS server and a client of it on the same device. Files come back as they were written, and both live on when the
# device goes away under them and another comes.
# lab@7.2: --hosts 1 --rails 0 --smp 2 --timeout 300 --mem 768
# lab-kernels: 7.2 7.3
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh

files=/mnt/files shared=/mnt/shared

server_up() {
	modprobe -a nfsd rpcrdma && mount -t nfsd nfsd /proc/fs/nfsd &&
		exportfs -i -o rw,no_root_squash,no_subtree_check,insecure,fsid=0 "10.0.0.0/24:$shared" &&
		rpc.mountd --no-nfs-version 3 --no-udp && rpc.nfsd --no-nfs-version 3 --grace-time 10 --lease-time 10 --rdma=20049 4
}

server_down() {
	rpc.nfsd 0 && exportfs -au && pkill -x rpc.mountd && umount /proc/fs/nfsd
}

# files_up OPTIONS: what the server shares is there, at least by RDMA.
files_up() {
	mount -t nfs4 -o "proto=rdma,port=20049,$1" "$rdma_ip:/" "$files" && grep -q "$files nfs4 .*proto=rdma" /proc/mounts
}

# Small requests travel in SENDs, large ones by RDMA_READ and RDMA_WRITE of fast-registered memory.
write_sizes() {
	dd if=/tmp/data of="$files/large" bs=1M oflag=direct status=none &&
		dd if=/tmp/data of="$files/small" bs=3000 count=200 oflag=direct status=none &&
		dd if=/tmp/data of="$files/cached" bs=64k status=none && sync "$files/cached"
}

# same NAME... : these files are the test data, on the server's side and, asked anew, on the client's.
same() {
	local name
	echo 3 >/proc/sys/vm/drop_caches
	for name; do
		cmp /tmp/data "$shared/$name" && cmp /tmp/data "$files/$name" || return
	done
}
export -f server_up server_down files_up write_sizes same
export files shared rdma_ip

# small_files: many operations that carry no data to speak of.
small_files() {
	local i
	mkdir "$files/many" || return
	for ((i = 0; i < 100; i++)); do
		echo "content of $i" >"$files/many/$i" || return
	done
	for ((i = 0; i < 100; i++)); do
		[ "$(<"$files/many/$i")" = "content of $i" ] || return
		mv "$files/many/$i" "$files/many/again$i" || return
	done
	[ "$(find "$files/many" -name 'again*' | wc -l)" = 100 ] && rm -r "$files/many"
}
export -f small_files

rdma_up
before=$(rdma_resources)
mkdir -p "$files" "$shared"
mount -t tmpfs tmpfs "$shared"
head -c 16M /dev/urandom >/tmp/data
check server bash -c server_up
check mount bash -c "files_up vers=4.2"
mountpoint -q "$files" || checks_end
check write bash -c write_sizes
check compare bash -c "same large cached"
check compare-small cmp -n 600000 /tmp/data "$shared/small"
check small-files bash -c small_files
check unmount umount "$files"
check mount-small-requests bash -c "files_up vers=4.1,rsize=4096,wsize=4096"
check write-small-requests dd if=/tmp/data of="$files/by-4k" bs=64k count=16 oflag=direct status=none
check compare-small-requests cmp -n 1048576 /tmp/data "$shared/by-4k"
check unmount-small-requests umount "$files"

# The device goes away under a writer, and comes back. Most writers do not notice; one in ten or so is told EINVAL, on upstream's
# device too: the client hands on what it hears when the device goes while it connects.
check mount-again bash -c "files_up vers=4.2"
dd if=/tmp/data of="$files/interrupted" bs=16k oflag=direct status=none &
writer=$!
lab wait 20 test -s "$shared/interrupted" || fail "the writer wrote nothing"
check in-use kill -0 "$writer"
check delete-under-use rdma link delete "$rdma_dev"
check let-go lab wait 60 test ! -e "/sys/class/infiniband/$rdma_dev"
rdma_link_up
check writer-ends lab wait 120 sh -c "! kill -0 $writer"
if wait "$writer"; then
	check compare-interrupted bash -c "same interrupted"
fi
check write-afterwards bash -c write_sizes
check compare-afterwards bash -c "same large cached"
check unmount-again umount "$files"
check server-down bash -c server_down
check modules-go rmmod rpcrdma
# The core keeps completion queues for the next who shares them, as long as the device is there.
but_cqs() { sed 's/ cq [0-9]*//'; }
[ "$(rdma_resources | but_cqs)" = "$(echo "$before" | but_cqs)" ] || fail "resources: $before before, $(rdma_resources) after"
check works-again bash -c ". /checkout/tests/lab/guest/rdma.sh; rdma_wait_active; rdma_works"
checks_end
rdma_down
