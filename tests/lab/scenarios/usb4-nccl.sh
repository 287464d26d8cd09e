#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Two hosts speak as NCCL and RCCL do (tests/nccl): what they find of the device, their queue pairs, their fifo in plain memory, both ways at
# once; in several of their settings; while one of two cables is pulled; and, on one cable, with frames that are lost and a cable that is
# gone for a moment, where nothing may fail in the 4.3 s that NCCL's queue pairs wait, eight times over.
# lab@7.2: --rails 2 --mem 768 --timeout 400 -- plain 3
# lab-long: --rails 2 --mem 768 --timeout 400 -- pull 30
# lab@7.3: --rails 1 --mem 768 --timeout 400 -- loss 5
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

mode=${1-plain} seconds=${2-8}
[ "${LAB_LONG-}" != 1 ] || seconds=$((4 * seconds))
peer=host$((3 - LAB_HOST))
rails=$(lspci -d 1b36:4e48 | wc -l)
ends=() longest=0

# nccl NAME TERMS...: one check. What goes on meanwhile is up to the script.
nccl() {
	local name=$1 program ms
	program=(/checkout/out/nccl/nccl -d "$rdma_dev" -g "$rdma_gid" --gbps $((40 * rails)) --hang $((30 * LAB_PATIENCE)) "${ends[@]}")
	shift
	check_time=$(((seconds + 60) * LAB_PATIENCE))
	check_listens=$(listens_tcp 18800)
	across "$name" "${program[@]}" -- "${program[@]}" --seconds "$seconds" "$@" "$pair_ip"
	[ "$LAB_HOST" = "$across_client" ] || return 0
	grep -E '^nccl:' "/lab/output/$name" | sed 's/^/    /'
	for ms in $(sed -n 's/^nccl: PASS.*longest message \([0-9]*\) ms.*/\1/p' "/lab/output/$name"); do
		[ "$ms" -le "$longest" ] || longest=$ms
	done
}

# longest_is NAME: writes down how long a message took at most since the last time, at either end.
longest_is() {
	[ "$LAB_HOST" != 1 ] || lab result "$1" "$longest"
	longest=0
}

pair_up
barrier up
pair_answers
pair_all_rails
before=$(rdma_resources)
case $mode in
plain)
	nccl default
	[ "$LAB_HOST" != 1 ] || grep -hE 'port 1:|^PCI|^dmabuf|^GID|^connected' /lab/output/default | sort -u | sed 's/^/    /'
	nccl split --split
	nccl adaptive --split --adaptive
	nccl inline --split --inline
	nccl one-qp --qps 1
	longest_is nccl_longest_ms
	;;
pull)
	if [ "$LAB_HOST" = 1 ]; then
		# Not before both have looked at the device, whose speed is that of the cables that are there.
		lab wait 60 grep -qs '^connected' /lab/output/pull.client && pair_pull 2 "$peer" &
		puller=$!
	fi
	nccl pull --split
	[ "$LAB_HOST" != 1 ] || pair_pull_end "$puller" 2
	longest_is nccl_longest_ms
	;;
loss)
	[ "$LAB_HOST" != 1 ] || lab fabric fault 0 drop=0.1% || fail "fault"
	barrier faulty
	nccl loss --split
	[ "$LAB_HOST" != 1 ] || lab fabric fault 0 clear || fail "clear"
	longest_is nccl_longest_ms
	ends+=(--port-events)
	if [ "$LAB_HOST" = 1 ]; then
		(lab wait 60 grep -qs '^connected' /lab/output/gone.client && sleep 1 && lab fabric unplug 0 && sleep 2 && lab fabric plug 0) &
		puller=$!
	fi
	nccl gone --split
	[ "$LAB_HOST" != 1 ] || wait "$puller" || fail "the cable was not pulled and put back"
	[ "$LAB_HOST" != 1 ] || [ "$longest" -ge 2000 ] || fail "a message took $longest ms at most, with the cable gone for 2 s"
	longest_is nccl_longest_gone_ms
	;;
esac
barrier over
[ "$(rdma_resources)" = "$before" ] || fail "something is left: $(rdma_resources), before: $before"
across_end
