# SPDX-License-Identifier: GPL-2.0-only
# Users of an RDMA device that go on until they are killed:   . /checkout/tests/lab/guest/users.sh
#
# A user is a pair of processes that talk to each other, or one that talks to itself (tests/hostile/honest.c, which checks every
# byte). Users are told apart by number. Those at work give way to those that begin: many poll without a pause, and a guest has two CPUs.

# Every kind keeps other objects in use. The first five are cheap to start.
users_kinds=(rc srq uc ud odp send write read atomic ud-srq srq-pingpong rping uc-pingpong)
# Upstream's ODP copies the wrong bytes where a packet goes over the end of a page.
[ "$LAB_RDMA" != rxe ] || users_kinds[4]=rc

# users_start NUMBER KIND
users_start() {
	local number=$1 port=$((20000 + $1)) perf ping
	perf=(-d "$rdma_dev" -x "$rdma_gid" -F -p "$port" --run_infinitely -D 1)
	ping=(-d "$rdma_dev" -g "$rdma_gid" -p "$port" -n 10000000)
	case $2 in
	rc | srq | uc | ud | odp) users_single "$number" "$2" ;;
	send) users_pair "$number" ib_send_bw "${perf[@]}" ;;
	write) users_pair "$number" ib_write_bw "${perf[@]}" -q 4 ;;
	read) users_pair "$number" ib_read_bw "${perf[@]}" ;;
	atomic) users_pair "$number" ib_atomic_bw "${perf[@]}" ;;
	ud-srq) users_pair "$number" ib_send_bw "${perf[@]}" -c UD -s 1024 --use-srq ;;
	srq-pingpong) users_pair "$number" ibv_srq_pingpong "${ping[@]}" -e ;;
	rping) users_pair "$number" rping -a "$rdma_ip" -p "$port" -C 10000000 ;;
	uc-pingpong) users_pair "$number" ibv_uc_pingpong "${ping[@]}" -s 65536 ;;
	*) fail "no kind of user '$2'" ;;
	esac
}

# The processes of each user; a single one is its own server and client.
declare -A users_server users_client

users_single() {
	/checkout/out/hostile/honest "$2" "$rdma_dev" "$rdma_gid" 100000 "$1" >"/tmp/user.$1.both" 2>&1 </dev/null &
	users_server[$1]=$! users_client[$1]=$!
	disown # or bash would tell of every kill
	lab wait 30 grep -q ready "/tmp/user.$1.both" || fail "user $1 ($2) does not begin: $(tail -n 5 "/tmp/user.$1.both")"
	renice -n 19 "$!" >/dev/null
}

users_pair() {
	local number=$1 port=$((20000 + $1)) listens side=("$rdma_ip") server=()
	shift
	if [ "$1" = rping ]; then
		listens="rdma resource show cm_id | grep -q ':$port '"
		server=(-s) side=(-c)
	else
		listens="ss -Hltn 'sport = $port' | grep -q ."
	fi
	"$@" "${server[@]}" >"/tmp/user.$number.server" 2>&1 </dev/null &
	users_server[$number]=$!
	disown
	lab wait 30 sh -c "$listens" || fail "user $number ($*) does not listen: $(tail -n 5 "/tmp/user.$number.server")"
	"$@" "${side[@]}" >"/tmp/user.$number.client" 2>&1 </dev/null &
	users_client[$number]=$!
	disown
	renice -n 19 "${users_server[$number]}" "${users_client[$number]}" >/dev/null
}

# users_kill SIGNAL SIDE NUMBER: side server, client or both.
users_kill() {
	[ "$2" = client ] || kill "-$1" "${users_server[$3]}" 2>/dev/null
	[ "$2" = server ] || kill "-$1" "${users_client[$3]}" 2>/dev/null
	return 0
}

# users_alive NUMBER: both sides are at work.
users_alive() { kill -0 "${users_server[$1]}" 2>/dev/null && kill -0 "${users_client[$1]}" 2>/dev/null; }

# users_end NUMBER: kills what is left of the user and waits until its processes are gone.
users_end() {
	local since=$SECONDS
	users_kill KILL both "$1"
	while kill -0 "${users_server[$1]}" 2>/dev/null || kill -0 "${users_client[$1]}" 2>/dev/null; do
		[ $((SECONDS - since)) -lt 60 ] || fail "user $1 cannot be killed: $(cat /proc/{"${users_server[$1]}","${users_client[$1]}"}/stack 2>/dev/null)"
		sleep 0.01
	done
	rm -f "/tmp/user.$1".*
	unset "users_server[$1]" "users_client[$1]"
}
