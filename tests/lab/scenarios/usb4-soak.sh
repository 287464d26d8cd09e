#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Random operations between two hosts, every byte and completion checked (tests/soak): undisturbed; with CRC errors, and bits that change
# without one; with interrupts that are lost, as the hardware sometimes does; while one of several cables is pulled at random; the last cable
# pulled, for good and for a moment; with queue pairs that have no timer.
# lab-long: --rails 1 --mem 768 -- plain 15
# lab-long: --rails 2 --mem 768 -- plain 15
# lab: --rails 4 --mem 768 -- plain 15
# lab-long: --rails 1 --mem 768 --fault "all corrupt=0.1% flip=0.1%" -- crc 15
# lab@7.3: --rails 2 --mem 768 --fault "all corrupt=0.1% flip=0.1%" -- crc 15
# lab@7.2: --rails 2 --mem 768 -- lost 10
# lab@7.3: --rails 2 --mem 768 --timeout 400 -- pull 30
# lab@7.3: --rails 2 --mem 768 -- last
# lab@7.2: --rails 1 --mem 768 -- resume
# lab-long: --rails 4 --mem 768 --fault "all corrupt=0.1% flip=0.1%" -- crc 15
# lab-long: --rails 4 --mem 768 --timeout 400 -- pull 30
# lab-long: --rails 4 --mem 768 -- last
. /checkout/tests/lab/guest/soak.sh

mode=${1-plain} seconds=${2-20}
[ "${LAB_LONG-}" != 1 ] || seconds=$((8 * seconds))
peer=host$((3 - LAB_HOST))
mixed=(--rc 16 --uc 4 --ud 4)

pair_up
barrier up
pair_answers
pair_all_rails
case $mode in
plain | crc | lost)
	[ "$mode" != crc ] || soak_both+=(--may-lose)
	if [ "$mode" = lost ] && [ "$LAB_HOST" = 1 ]; then
		for router in 1.0 1.1 2.0 2.1; do
			lab fabric lose-interrupts $router 5% || fail "lose-interrupts"
		done
	fi
	barrier disturbed
	check_time=$(((seconds + 60) * LAB_PATIENCE))
	soak "$mode" "${mixed[@]}" --seconds "$seconds"
	soak_lent
	if [ "$mode" = lost ] && [ "$LAB_HOST" = 1 ]; then
		lost=$(lab fabric stats | jq '[.. | .interrupts? | objects | .lost] | add')
		lab result lost_interrupts "$lost"
		[ "$lost" -gt 0 ] || fail "the fabric lost no interrupt"
	fi
	if [ "$mode" = crc ] && [ "$LAB_HOST" = 1 ]; then
		corrupted=$(lab fabric stats | jq '[.cables[] | .forward.corrupted + .back.corrupted] | add')
		lab result corrupted_frames "$corrupted"
		[ "$corrupted" -gt 0 ] || fail "the fabric made no CRC error"
		flipped=$(lab fabric stats | jq '[.cables[] | .forward.flipped + .back.flipped] | add')
		lab result flipped_frames "$flipped"
		[ "$flipped" -gt 0 ] || fail "the fabric turned no bit over"
	fi
	;;
pull)
	soak_both+=(--may-lose)
	check_time=$(((seconds + 60) * LAB_PATIENCE))
	if [ "$LAB_HOST" = 1 ]; then
		pair_pull "$(lspci -d 1b36:4e48 | wc -l)" "$peer" &
		puller=$!
	fi
	soak pull "${mixed[@]}" --timeout 17 --seconds "$seconds"
	if [ "$LAB_HOST" = 1 ]; then
		pair_pull_end "$puller" $((seconds / 10))
	fi
	soak_lent
	;;
last)
	# Eight tries of 67 ms: a second or two until the first error.
	soak_meanwhile last $((8 * LAB_PATIENCE)) "lab fabric unplug all"
	soak_both+=(--expect-errors --grace 15)
	check_time=$((100 * LAB_PATIENCE))
	soak last "${mixed[@]}" --timeout 14 --seconds 240
	soak_meanwhile_end
	soak_both=(--hang $((30 * LAB_PATIENCE)))
	[ "$LAB_HOST" != 1 ] || lab fabric plug all
	pair_up
	barrier again
	pair_answers
	pair_all_rails
	soak again "${mixed[@]}" --seconds 5
	# Without a timer a QP asks again only because it is told that a cable is back.
	soak_meanwhile told $((5 * LAB_PATIENCE)) "lab fabric unplug all && sleep 1 && lab fabric plug all"
	check_time=$((100 * LAB_PATIENCE))
	soak told --rc 16 --timeout 0 --seconds $((15 * LAB_PATIENCE))
	soak_meanwhile_end told 1000
	;;
resume)
	# Eight tries of 4.3 s, as NCCL has it: more than it takes a cable to come back.
	soak_meanwhile resume 5 "lab fabric unplug 0 && sleep 3 && lab fabric plug 0"
	check_time=$((120 * LAB_PATIENCE))
	soak resume --rc 16 --timeout 20 --seconds 25 --largest 8388608
	soak_meanwhile_end resume 3000
	;;
esac
[ "$LAB_HOST" != 1 ] || [ -z "$(soak_pause "$mode")" ] || lab result longest_pause_ms "$(soak_pause "$mode")"
across_end
