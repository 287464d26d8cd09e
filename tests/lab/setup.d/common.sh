# SPDX-License-Identifier: GPL-2.0-only
# Shared by the steps of tests/lab/setup: where things are, progress, errors, keys.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/usb4-rxe
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
series_all="7.2 7.3"

# Prints "[ 12s] what": every line a user sees of a long setup carries the time since its start.
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# Ends the setup with one line that says what is wrong and what to do about it.
die() {
	printf 'lab: %s\n' "$*" >&2
	exit 1
}

# key FILE... -> a short hash of the contents of the inputs (not of their names or dates)
key() { cat "$@" | sha256sum | cut -c1-12; }

# end_group PGID: ends a process group and waits until it is gone, so that the next run finds nobody at work. in-root
# ends with all that runs below it only when it is killed outright: a first process of a namespace is deaf to TERM.
end_group() {
	kill -TERM -- "-$1" 2>/dev/null || return 0
	say "ending the step at work"
	sleep 2
	kill -KILL -- "-$1" 2>/dev/null || true
	while kill -0 -- "-$1" 2>/dev/null; do sleep 0.2; done
}

# logged NAME COMMAND...: runs a long command with its output in a log, with a sign of life every few seconds.
logged() {
	local log=$cache/logs/$1.log what=$1 start=$SECONDS pid
	shift
	# In a process group of its own, so that Ctrl-C ends the work and not only its observer.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap "end_group $pid" EXIT
	trap 'exit 130' INT TERM
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		if [ -t 1 ]; then
			printf '\r[%4ds]   %s: %.70s\033[K' "$SECONDS" "$what" "$(tail -n 1 "$log" | tr -cd '[:print:]')"
		elif [ $((SECONDS - start)) -ge 20 ]; then
			start=$SECONDS
			say "  $what: $(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-100)"
		fi
	done
	if [ -t 1 ]; then printf '\r\033[K'; fi
	trap - EXIT INT TERM
	if ! wait "$pid"; then
		tail -n 15 "$log" >&2
		die "step '$what' failed; the lines above are the end of $log. Mend the cause and run 'make lab' again: finished steps are kept"
	fi
}

# in_root COMMAND...: runs a command inside the lab's Debian root. Cache and checkout stand at their own paths, so
# what is built inside is found outside; the mounts live in a mount namespace and vanish with the command.
in_root() { "$lab/in-root" --root "$root" "$@"; }
