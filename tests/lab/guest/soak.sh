# SPDX-License-Identifier: GPL-2.0-only
# The soak test (tests/soak) between host 1 and host 2:   . /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

# Options of both ends; those after the name are the client's terms, which the server takes over.
soak_both=(--hang $((30 * ${LAB_PATIENCE-1})))
# Upstream's rxe returns old memory for an atomic after spurious timeouts; with a long one they are rare.
soak_terms=()
[ "$LAB_RDMA" != rxe ] || soak_terms=(--timeout 18)

# soak NAME TERMS...: one check; the verdicts of both ends are shown. What goes on meanwhile is up to the script.
soak() {
	local name=$1 program=(/checkout/out/soak/soak -d "$rdma_dev" -g "$rdma_gid" "${soak_both[@]}")
	shift
	check_listens=$(listens_tcp 18700)
	across "$name" "${program[@]}" -- "${program[@]}" "${soak_terms[@]}" "$@" "$pair_ip"
	[ "$LAB_HOST" != "$across_client" ] || grep -hE '^(soak:|SEND)' "/lab/output/$name" | sed 's/^/    /'
}

# soak_pause NAME: the longest time without a completion, in ms, at either end.
soak_pause() { sed -n 's/^soak: PASS.*longest pause \([0-9]*\) ms.*/\1/p' "/lab/output/$1" | sort -n | tail -n 1; }
