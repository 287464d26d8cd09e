#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A guest that talks without end, and without line ends, is ended at the time limit like one that is silent.
# lab: --no-module --hosts 1 --rails 0 --timeout 5
# lab-kernels: 7.2
# lab-expects: script still running at the time limit of 5 s

cat /dev/zero >/dev/ttyS0
