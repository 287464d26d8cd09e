#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A script that does not end is ended.
# lab: --no-module --hosts 1 --rails 0 --timeout 5
# lab-kernels: 7.2
# lab-expects: script still running at the time limit of 5 s

sleep 1000
