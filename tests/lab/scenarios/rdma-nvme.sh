#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Kernel users: an NVMe target and a host on the same device. What is written comes back, also over new connections, and both let go
# of a device that goes away under them.
# lab@7.3: --hosts 1 --rails 0 --smp 2 --timeout 300 --mem 768
. /checkout/tests/lab/guest/rdma.sh
. /checkout/tests/lab/guest/check.sh
. /checkout/tests/lab/guest/nvme.sh

rdma_up
export nvme_address=$rdma_ip
before=$(rdma_resources)
head -c "${nvme_size}M" /dev/urandom >/tmp/data
check target bash -c nvme_target_up
check connect bash -c "nvme_connect -i 2"
check write bash -c nvme_write_sizes
for offset in 0 16 32; do
	check "compare-at-$offset" bash -c "nvme_compare $offset"
done
check parallel bash -c nvme_parallel
check compare-at-48 bash -c "nvme_compare 48"
check disconnect bash -c nvme_disconnect
for round in 1 2 3; do
	check "connect-$round" bash -c "nvme_connect -i $round -Q 32"
	check "compare-$round" bash -c "nvme_compare 16"
	check "disconnect-$round" bash -c nvme_disconnect
done
check connect-write-queue bash -c "nvme_connect -i 1 -W 1"
check compare-with-write-queue bash -c "nvme_compare 32"
check disconnect-write-queue bash -c nvme_disconnect

# The device goes away while both use it.
check connect-again bash -c "nvme_connect -i 2"
(while dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=1000 oflag=direct conv=nocreat status=none 2>/dev/null; do :; done) &
writer=$!
sleep 1
check in-use kill -0 "$writer"
check delete-under-use rdma link delete "$rdma_dev"
check let-go lab wait 60 test ! -e "/sys/class/infiniband/$rdma_dev"
nvme disconnect -n lab >/dev/null 2>&1
wait "$writer"
check target-down bash -c nvme_target_down
check disk-gone lab wait 30 test ! -e /dev/nvme0n1
check modules-go rmmod nvme-rdma nvmet-rdma
rdma_link_up
[ "$(rdma_resources)" = "$before" ] || fail "resources: $before before, $(rdma_resources) after"

# A target that takes what all its hosts send from one receive queue.
check shared-queue modprobe nvmet-rdma use_srq=1 srq_size=256
check target-with-it bash -c nvme_target_up
check connect-to-it bash -c "nvme_connect -i 2"
check has-srq bash -c "rdma -j resource show srq dev $rdma_dev | grep -q '\"type\":\"BASIC\"'"
check write-to-it bash -c nvme_write_sizes
check compare-from-it bash -c "nvme_compare 16"
check disconnect-from-it bash -c nvme_disconnect
check target-with-it-down bash -c nvme_target_down
check modules-go-again rmmod nvme-rdma nvmet-rdma
# The core keeps completion queues for the next who shares them, as long as the device is there.
but_cqs() { sed 's/ cq [0-9]*//'; }
[ "$(rdma_resources | but_cqs)" = "$(echo "$before" | but_cqs)" ] || fail "resources: $before before, $(rdma_resources) after"
check works-again bash -c ". /checkout/tests/lab/guest/rdma.sh; rdma_wait_active; rdma_works"
checks_end
rdma_down
