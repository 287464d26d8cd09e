#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The libraries below MPI and data frameworks, as Debian ships them: UCX over RC and UD (tags, active messages, put, get,
# atomics), and libfabric's verbs provider, which compares what arrives.
# lab@7.3: --rails 2 --mem 768 --timeout 400
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

pair_up
barrier up
pair_answers
pair_all_rails

export UCX_NET_DEVICES=$rdma_dev:1
# Not shared memory, not TCP: without our device nothing works.
export UCX_TLS
# Debian's ucx_perftest starts Open MPI, which it does not use here (-P 0).
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self OMPI_MCA_mtl=^ofi
check_listens=$(listens_tcp 13337)

perftest=(ucx_perftest -P 0 -n 300 -w 10)
# ucx NAME TEST OPTIONS...: over the transports of UCX_TLS.
ucx() {
	local name=$1
	shift
	across "$name" "${perftest[@]}" "$@" -- "${perftest[@]}" "$@" "$pair_ip"
}

check "ucx-sees-it.$LAB_HOST" ucx_info -d
grep -q "Device: $rdma_dev:1" "/lab/output/ucx-sees-it.$LAB_HOST" || fail "UCX does not see $rdma_dev: $(ucx_info -d)"
# RC, which connects by UD, and UD alone.
for UCX_TLS in rc_v ud_v; do
	ucx "ucx-$UCX_TLS-tag-lat" -t tag_lat -s 8
	ucx "ucx-$UCX_TLS-tag-bw" -t tag_bw -s 1000000 -n 20
	ucx "ucx-$UCX_TLS-am-bw" -t ucp_am_bw -s 8192 -n 200
	ucx "ucx-$UCX_TLS-put" -t ucp_put_bw -s 262144 -n 50
	ucx "ucx-$UCX_TLS-get" -t ucp_get -s 262144 -n 50
	ucx "ucx-$UCX_TLS-fadd" -t ucp_fadd -s 8
done

# libfabric: -c compares every byte.
check_listens=$(listens_tcp 47592)
# fabric NAME OPTIONS...
fabric() {
	local name=$1
	shift
	across "$name" fi_pingpong -c -I 20 "$@" -- fi_pingpong -c -I 20 "$@" "$pair_ip"
}
for size in 64 100000 1048576; do
	fabric "fabric-msg-$size" -p verbs -e msg -S $size
	fabric "fabric-rdm-$size" -p "verbs;ofi_rxm" -e rdm -S $size
done
fabric fabric-dgram -p verbs -e dgram -S 1024
across_end
