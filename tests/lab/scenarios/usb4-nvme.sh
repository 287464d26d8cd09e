#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Kernel users between two hosts: an NVMe target on host 2, used by host 1. What is written comes back, also when a cable is
# pulled meanwhile, and after the connection was made anew.
# lab@7.2: --rails 1 --mem 768 --timeout 300
# lab-long: --rails 2 --mem 768 --timeout 300
# lab-long: --rails 4 --mem 768 --timeout 300
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/check.sh
. /checkout/tests/lab/guest/nvme.sh

pair_up
barrier up
pair_answers
pair_all_rails
export nvme_address=${rdma_ip%.*}.2
if [ "$LAB_HOST" = 2 ]; then
	check target bash -c nvme_target_up
	barrier target
	barrier used
	check target-down bash -c nvme_target_down
else
	head -c "${nvme_size}M" /dev/urandom >/tmp/data
	barrier target
	check connect bash -c "nvme_connect -i 2"
	check write bash -c nvme_write_sizes
	for offset in 0 16 32; do
		check "compare-at-$offset" bash -c "nvme_compare $offset"
	done
	if [ "$(pair_cables host2)" -gt 1 ]; then
		(sleep 1 && lab fabric unplug 0 && touch /tmp/pulled) &
		puller=$!
	else
		touch /tmp/pulled
	fi
	# Busy before, while and after a cable goes.
	check parallel bash -c 'until [ -e /tmp/pulled ]; do nvme_parallel || exit; done; nvme_parallel'
	check compare-at-48 bash -c "nvme_compare 48"
	[ -z "${puller-}" ] || wait "$puller" || fail "no cable was pulled"
	lab fabric plug all
	check disconnect bash -c nvme_disconnect
	check connect-again bash -c "nvme_connect -i 1 -W 1 -Q 32"
	check compare-again bash -c "nvme_compare 16"
	check disconnect-again bash -c nvme_disconnect
	barrier used
fi
checks_end
barrier end
