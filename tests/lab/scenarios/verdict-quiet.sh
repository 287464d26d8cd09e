#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A WARN fails a run also when the console was told to be quiet.
# lab: --no-module --hosts 1 --rails 0
# lab-kernels: 7.2
# lab-expects: WARNING: behind the console's back

dmesg -n 1
echo "<4>WARNING: behind the console's back" >/dev/kmsg
