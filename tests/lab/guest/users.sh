# SPDX-License-Identifier: GPL-2.0-only
# Users of an RDMA device that go on until they are killed:   . /checkout/tests/lab/guest/users.sh
#
# A user is a pair of processes, server and client, in one process group; users are told apart by number.

# What the Nth user runs; each kind keeps other objects in use. All go on for much longer than any test.
users_kinds=8
users_start() {
	local number=$1 kind=$(($1 % users_kinds)) port=$((20000 + $1)) base
	base=(-d "$rdma_dev" -x "$rdma_gid" -F -p "$port")
	case $kind in
	0) users_pair "$number" ib_send_bw "${base[@]}" --run_infinitely -D 1 ;;
	1) users_pair "$number" ib_write_bw "${base[@]}" --run_infinitely -D 1 -q 4 -s 65536 ;;
	2) users_pair "$number" ib_read_bw "${base[@]}" --run_infinitely -D 1 ;;
	3) users_pair "$number" ib_atomic_bw "${base[@]}" --run_infinitely -D 1 ;;
	4) users_pair "$number" ib_send_bw "${base[@]}" --run_infinitely -D 1 -c UD -s 1024 --use-srq ;;
	5) users_pair "$number" ibv_srq_pingpong -d "$rdma_dev" -g "$rdma_gid" -p "$port" -n 10000000 -e ;;
	6) users_pair "$number" rping -a "$rdma_ip" -p "$port" -C 10000000 ;;
	7) users_pair "$number" ibv_uc_pingpong -d "$rdma_dev" -g "$rdma_gid" -p "$port" -n 10000000 -s 65536 ;;
	esac
}

# users_pair NUMBER PROGRAM OPTIONS...: starts both sides; the process group of each is kept in users_server, users_client.
declare -A users_server users_client
users_pair() {
	local number=$1 port=$((20000 + $1)) listens side=("$rdma_ip") server=()
	shift
	if [ "$1" = rping ]; then
		listens="rdma -j resource show cm_id dev $rdma_dev | grep -q '\"state\":\"LISTEN\".*\"src-port\":$port' || rdma resource show cm_id | grep -q ':$port '"
		server=(-s) side=(-c)
	else
		listens="ss -Hltn 'sport = $port' | grep -q ."
	fi
	setsid "$@" "${server[@]}" >"/tmp/user.$number.server" 2>&1 </dev/null &
	users_server[$number]=$!
	lab wait 15 sh -c "$listens" || fail "user $number ($*) does not listen: $(tail -n 5 "/tmp/user.$number.server")"
	setsid "$@" "${side[@]}" >"/tmp/user.$number.client" 2>&1 </dev/null &
	users_client[$number]=$!
}

# users_kill SIGNAL SIDE NUMBER: side server, client or both.
users_kill() {
	local side pid
	for side in server client; do
		[ "$2" = "$side" ] || [ "$2" = both ] || continue
		local -n pids=users_$side
		pid=${pids[$3]-}
		[ -n "$pid" ] && kill "-$1" "$pid" 2>/dev/null
	done
	return 0
}

# users_end NUMBER: kills what is left of the user and waits until its processes are gone.
users_end() {
	users_kill KILL both "$1"
	wait "${users_server[$1]}" "${users_client[$1]}" 2>/dev/null
	unset "users_server[$1]" "users_client[$1]"
}

# users_alive NUMBER: both sides are at work.
users_alive() { kill -0 "${users_server[$1]}" 2>/dev/null && kill -0 "${users_client[$1]}" 2>/dev/null; }
