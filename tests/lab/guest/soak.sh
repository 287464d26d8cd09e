# SPDX-License-Identifier: GPL-2.0-only
# The soak test (tests/soak) between host 1 and host 2:   . /checkout/tests/lab/guest/soak.sh
. /checkout/tests/lab/guest/pair.sh
. /checkout/tests/lab/guest/across.sh

# Options of both ends; those after the name are the client's terms, which the server takes over.
soak_both=(--hang $((30 * ${LAB_PATIENCE-1})))
# Upstream's rxe returns old memory for an atomic after spurious timeouts; with a long one they are rare.
soak_terms=()
# And its queues drop what they do not take.
[ "$LAB_RDMA" != rxe ] || { soak_terms=(--timeout 18) && soak_both+=(--may-lose); }

# soak NAME TERMS...: one check; the verdicts of both ends are shown. What goes on meanwhile is up to the script.
soak() {
	local name=$1 program=(/checkout/out/soak/soak -d "$rdma_dev" -g "$rdma_gid" "${soak_both[@]}")
	shift
	check_listens=$(listens_tcp 18700)
	across "$name" "${program[@]}" -- "${program[@]}" "${soak_terms[@]}" "$@" "$pair_ip"
	[ "$LAB_HOST" != "$across_client" ] || grep -hE '^(soak:|SEND|UC|UD)' "/lab/output/$name" | sed 's/^/    /'
}

# soak_pause NAME: the longest time without a completion, in ms, at either end.
soak_pause() { sed -n 's/^soak: PASS.*longest pause \([0-9]*\) ms.*/\1/p' "/lab/output/$1" | sort -n | tail -n 1; }

# soak_meanwhile NAME SECONDS COMMAND: host 1, the client, does it so long after all queue pairs of the soak NAME, which follows, were set up.
soak_meanwhile() {
	[ "$LAB_HOST" = 1 ] || return 0
	(lab wait $((60 * LAB_PATIENCE)) grep -qs ^running: "/lab/output/$1.client" && sleep "$2" && eval "$3") &
	soak_meanwhile_pid=$!
}

# soak_meanwhile_end [NAME MS]: it was done, and the soak of this name felt it: nothing was completed for so long.
soak_meanwhile_end() {
	[ "$LAB_HOST" = 1 ] || return 0
	wait "$soak_meanwhile_pid" || fail "what was to happen meanwhile did not"
	[ -z "${1-}" ] || [ "$(soak_pause "$1")" -ge "$2" ] || fail "$1: a pause of $(soak_pause "$1") ms at most: nothing was disturbed"
}

# soak_lent: some payload was not copied, but read where the program has it: of messages that begin with a page.
soak_lent() {
	[ "$LAB_RDMA" != rxe ] || return 0
	local lent
	lent=$(ethtool -S "$rdma_net" | awk '$1 == "wire_tx_lent:" { print $2 }')
	lab result "tx_lent_$LAB_HOST" "$lent"
	[ "$lent" -gt 0 ] || fail "all payload was copied: $(ethtool -S "$rdma_net" | grep wire_tx)"
}
