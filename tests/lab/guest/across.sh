# SPDX-License-Identifier: GPL-2.0-only
# Checks that need two hosts, beside those of check.sh:   . /checkout/tests/lab/guest/across.sh
#
# Every host runs the same script, so every check is called on all of them. One serves, another one is the client, counts and shows the
# verdict; the rest take part in the barriers alone.
. /checkout/tests/lab/guest/check.sh

across_server=2
across_client=1
# Hosts call in step, so the number of calls tells one from the next of the same name.
across_calls=0

# across NAME SERVER... -- CLIENT...: starts the server; when it listens, the client; both must end well. The server listens when
# $check_listens says so (see check.sh).
across() {
	local name=$1 server=()
	shift
	while [ "$1" != -- ]; do
		server+=("$1")
		shift
	done
	shift
	across_calls=$((across_calls + 1))
	case $LAB_HOST in
	"$across_client") across_as_client "$name" "$@" ;;
	"$across_server") across_as_server "$name" "${server[@]}" ;;
	*) barrier across && barrier across ;;
	esac
}

across_as_server() {
	local files=/lab/output/$1 call=/lab/output/.call.$across_calls pid status
	shift
	timeout -k 5 "$check_time" "$@" >"$files.server" 2>&1 </dev/null &
	pid=$!
	lab wait 10 bash -c "$check_listens || ! kill -0 $pid" >/dev/null 2>&1
	kill -0 "$pid" 2>/dev/null || echo "the server never listened" >"$call.unheard"
	barrier across
	# A server whose client has failed may wait for ever.
	while kill -0 "$pid" 2>/dev/null; do
		if [ -s "$call.status" ] && [ "$(<"$call.status")" != 0 ]; then
			kill "$pid" 2>/dev/null
			break
		fi
		sleep 0.05
	done
	wait "$pid"
	status=$?
	{
		echo "---- server: $*"
		cat "$files.server"
		echo "---- status $status"
	} >"$call.served"
	rm "$files.server"
	echo "$status" >"$call.server_status"
	barrier across
}

across_as_client() {
	local name=$1 files=/lab/output/$1 call=/lab/output/.call.$across_calls start status server_status
	shift
	barrier across
	start=${EPOCHREALTIME/./}
	if [ -s "$call.unheard" ]; then
		status=125
	else
		timeout -k 5 "$check_time" "$@" >"$files.client" 2>&1 </dev/null
		status=$?
	fi
	echo "$status" >"$call.status"
	barrier across
	server_status=$(<"$call.server_status")
	{
		cat "$call.unheard" "$call.served" 2>/dev/null
		echo "---- client: $*"
		cat "$files.client" 2>/dev/null
		echo "---- status $status"
	} >"$files"
	rm -f "$files.client" "$call".*
	[ "$status" != 0 ] || status=$server_status
	[ "$status" != 0 ] || ! grep -qE "$check_complaints" "$files" || status=126
	check_is "$name" "$status" "$start"
}

# across_end: fails when a check that this host counted has failed.
across_end() {
	[ "$checks_passed$checks_failed" = 0 ] || checks_end
	barrier end
}
