#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A guest whose kernel panics fails the run at once, and its partner hears of it at the barrier.
# lab: --no-module --hosts 2 --rails 0
# lab-kernels: 7.2
# lab-expects: the guest ended while its script ran

if [ "$LAB_HOST" = 1 ]; then
	echo c >/proc/sysrq-trigger
fi
! lab barrier never || exit 1
