# SPDX-License-Identifier: GPL-2.0-only
# Shell functions for scripts made of many checks:   . /checkout/tests/lab/guest/check.sh
#
# Each check has a name, a time limit and a file with all it printed, kept as output/NAME in the run's folder. A failed check does
# not end the script: the others still run, and checks_end gives the verdict.

check_time=$((60 * ${LAB_PATIENCE-1}))
checks_passed=0
checks_failed=""
mkdir -p /lab/output

# Some programs say that something is wrong and still end with status 0.
check_complaints='invalid data|data mismatch|Completion with error|Failed status|Couldn.t'

# check_is NAME STATUS START [REMARK]: counts a check that has ended; the output of a failed one is shown.
check_is() {
	local took
	took=$(((${EPOCHREALTIME/./} - $3) / 1000))
	if [ "$2" = 0 ]; then
		printf 'ok   %3d.%d s  %s %s\n' $((took / 1000)) $((took % 1000 / 100)) "$1" "${4-}"
		checks_passed=$((checks_passed + 1))
	else
		printf 'FAIL %3d.%d s  %s (status %s%s)\n' $((took / 1000)) $((took % 1000 / 100)) "$1" "$2" "$([ "$2" != 124 ] || echo ": no end within $check_time s")"
		tail -n 25 "/lab/output/$1" | sed 's/^/    | /'
		checks_failed+=" $1"
	fi
}

# check NAME COMMAND...: the command must end well.
check() {
	local name=$1 start=${EPOCHREALTIME/./}
	shift
	timeout -k 5 "$check_time" "$@" >"/lab/output/$name" 2>&1 </dev/null
	check_is "$name" $? "$start"
}

# check_pair NAME SERVER... -- CLIENT...: starts the server, gives it the time to listen, starts the client; both must end well.
# The server listens when $check_listens says so: a command that is tried for ten seconds.
check_pair() {
	local name=$1 start=${EPOCHREALTIME/./} server=() status=0 server_status pid
	shift
	while [ "$1" != -- ]; do
		server+=("$1")
		shift
	done
	shift
	timeout -k 5 "$check_time" "${server[@]}" >"/lab/output/$name.server" 2>&1 </dev/null &
	pid=$!
	if lab wait 10 bash -c "$check_listens || ! kill -0 $pid" >/dev/null 2>&1 && kill -0 "$pid" 2>/dev/null; then
		timeout -k 5 "$check_time" "$@" >"/lab/output/$name.client" 2>&1 </dev/null
		status=$?
	else
		status=125
		echo "the server never listened" >"/lab/output/$name.client"
	fi
	# A server whose client has failed may wait for ever.
	[ "$status" = 0 ] || kill "$pid" 2>/dev/null
	wait "$pid"
	server_status=$?
	{
		echo "---- server: ${server[*]}"
		cat "/lab/output/$name.server"
		echo "---- status $server_status; client: $*"
		cat "/lab/output/$name.client"
		echo "---- status $status"
	} >"/lab/output/$name"
	rm -f "/lab/output/$name".{server,client}
	[ "$status" != 0 ] || status=$server_status
	[ "$status" != 0 ] || ! grep -qE "$check_complaints" "/lab/output/$name" || status=126
	check_is "$name" "$status" "$start"
}

# listens_tcp PORT, listens_cm PORT: commands for $check_listens.
listens_tcp() { echo "ss -Hltn 'sport = $1' | grep -q ."; }
listens_cm() { echo "rdma -j resource show cm_id | grep -q '\"state\":\"LISTEN\"'"; }

# checks_end: fails when a check has failed.
checks_end() {
	echo "$checks_passed checks passed"
	[ -z "$checks_failed" ] || fail "failed checks:$checks_failed"
}
