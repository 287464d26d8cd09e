#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A Rust module built against the prepared tree loads into the stock kernel, runs, and leaves.
# lab: --no-module --hosts 1 --rails 0
. /checkout/tests/lab/guest/lib.sh

insmod "/checkout/out/probe/$LAB_KERNEL/lab_probe.ko" || fail "insmod"
rmmod lab_probe || fail "rmmod"
dmesg | grep -q 'lab_probe: the answer is 42' || fail "it did not run"
dmesg | grep -q 'lab_probe: leaving with 42' || fail "it did not leave"
uname -r
