# SPDX-License-Identifier: GPL-2.0-only
# perftest's programs as checks:   . /checkout/tests/lab/guest/perftest.sh     after check.sh, or across.sh

# perftest HOW ADDRESS NAME PROGRAM OPTIONS...: one check, by HOW: check_pair (on one host) or across (on two); the client connects to
# ADDRESS. The figure of its last size (MB/s, or typical us) goes to figures.txt in the run's folder.
perftest() {
	local how=$1 address=$2 name=$3 program=$4 client=()
	shift 4
	set -- "$program" -d "$rdma_dev" -x "$rdma_gid" -F "$@"
	case " $* " in
	*" -R "*) check_listens=$(listens_cm) client=(env LD_PRELOAD=/checkout/out/perftest/late_client.so) ;;
	*) check_listens=$(listens_tcp 18515) ;;
	esac
	"$how" "$name" "$@" -- "${client[@]}" "$@" "$address"
	[ "$how" = check_pair ] || [ "$LAB_HOST" = "$across_client" ] || return 0
	# The last table of the client: size, iterations, then peak and average, or minimum, maximum and typical.
	awk -v name="$name" -v column="$([[ $program == *_bw ]] && echo 4 || echo 5)" '
		$1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ && NF >= 5 { figure = $column }
		END { if (figure != "") print name, figure }' "/lab/output/$name" >>/lab/figures.txt
}

# perftest_result NAME...: these figures as results of the run.
perftest_result() {
	local name
	for name in "$@"; do
		! grep -q "^$name " /lab/figures.txt || lab result "$name" "$(awk -v name="$name" '$1 == name { print $2 }' /lab/figures.txt)"
	done
}
