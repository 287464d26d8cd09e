#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# USB4STREAM, the kernel's raw byte stream over a cable: the ceiling of what a cable carries here.
# lab: --no-module
# lab-kernels: 7.3
. /checkout/tests/lab/guest/lib.sh
. /checkout/tests/lab/guest/stream.sh

stream_up
speed=$(stream_bandwidth 96) || fail "$speed"
[ "$LAB_HOST" != 1 ] || lab result usb4stream_MBps "$speed"
stream_down
barrier end
