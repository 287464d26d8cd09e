#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The libraries below MPI and data frameworks, as Debian ships them: UCX over RC and UD (tags, streams, active messages, put, get,
# atomics), and libfabric's verbs provider, which compares what arrives.
# lab: --rails 2 --mem 768 --timeout 400
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

pair_up
barrier up
pair_answers
pair_all_rails

export UCX_NET_DEVICES=$rdma_dev:1
# Not shared memory, not TCP: without our device nothing works.
export UCX_TLS
check_listens=$(listens_tcp 13337)

perftest=(ucx_perftest -P 0 -n 1000 -w 10)
# ucx NAME TEST OPTIONS...: over the transports of UCX_TLS.
ucx() {
	local name=$1
	shift
	across "$name" "${perftest[@]}" "$@" -- "${perftest[@]}" "$@" "$pair_ip"
}

check "ucx-sees-it" ucx_info -d
grep -q "Device: $rdma_dev:1" /lab/output/ucx-sees-it || fail "UCX does not see $rdma_dev: $(ucx_info -d)"
for UCX_TLS in rc_verbs ud_verbs; do
	ucx "ucx-$UCX_TLS-tag-lat" -t tag_lat -s 8
	for size in 1000 65536 1000000; do
		ucx "ucx-$UCX_TLS-tag-bw-$size" -t tag_bw -s $size -n $((size < 100000 ? 200 : 20))
	done
	ucx "ucx-$UCX_TLS-stream-bw" -t stream_bw -s 8192 -n 200
	ucx "ucx-$UCX_TLS-am-bw" -t ucp_am_bw -s 8192 -n 200
	ucx "ucx-$UCX_TLS-put" -t ucp_put_bw -s 262144 -n 50
	ucx "ucx-$UCX_TLS-get" -t ucp_get -s 262144 -n 50
	ucx "ucx-$UCX_TLS-fadd" -t ucp_fadd -s 8
	ucx "ucx-$UCX_TLS-cswap" -t ucp_cswap -s 8
done

# libfabric: -c compares every byte.
check_listens=$(listens_tcp 47592)
fabric() {
	local name=$1
	shift
	across "$name" fi_pingpong -c -I 50 "$@" -- fi_pingpong -c -I 50 "$@" "$pair_ip"
}
fabric fabric-msg -p verbs -e msg -S all
fabric fabric-rdm -p "verbs;ofi_rxm" -e rdm -S all
fabric fabric-dgram -p verbs -e dgram -S 1024
across_end
