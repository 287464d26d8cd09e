# SPDX-License-Identifier: GPL-2.0-only
# A shell function for scripts that use qperf:   . /checkout/tests/lab/guest/qperf.sh      after check.sh or across.sh

# qperf_cm ADDRESS TEST: a check of that name, connected by RDMA-CM. qperf's server tells its port before it listens there, and now and
# then the client is faster: an attempt that was rejected does not count.
qperf_cm() {
	check "$2" bash -c 'for try in 1 2 3 4 5; do
		said=$(qperf "$1" -cm 1 -t 1 "$2" 2>&1)
		status=$?
		echo "$said"
		[[ $status != 0 && $said == *"Event rejected"* ]] || break
	done
	exit $status' qperf "$1" "$2"
}
