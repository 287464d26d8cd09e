#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A WARN in the kernel log fails a run whose script ends well.
# lab: --no-module --hosts 1 --rails 0
# lab-kernels: 7.2
# lab-expects: WARNING: on purpose

echo "<4>WARNING: on purpose" >/dev/kmsg
