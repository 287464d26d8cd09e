# SPDX-License-Identifier: GPL-2.0-only
# Makes the table of perftest-scripts/compare from the figures of measure.sh.   gawk and mawk: awk -f median.awk -f table.awk FIGURES

function line(name, a, b, c, remark) {
	printf "  %-34s %9s %9s %9s   %s\n", name, a, b, c, remark
}

function mb(name) { return has(name) ? sprintf("%.1f", median(name)) : "-" }

function three(title, name, remark) { line(title, mb(name "-write"), mb(name "-read"), mb(name "-send"), remark) }

# wanted: ">= 3", "<= 0.33", or nothing.
function ratio(title, above, below, wanted,    value, word, parts) {
	if (!above || !below) {
		printf "  %-62s %9s   %-9s not measured\n", title, "-", wanted
		wanted_count += wanted != ""
		return
	}
	value = above / below
	word = ""
	if (wanted != "") {
		split(wanted, parts, " ")
		word = (parts[1] == ">=" ? value >= parts[2] : value <= parts[2]) ? "ok" : "MISSED"
		wanted_count++
		if (word == "ok")
			met++
	}
	printf "  %-62s %9.2f   %-9s %s\n", title, value, wanted, word
}

function larger(a, b) { return a > b ? a : b }
function smaller(a, b) { return a < b ? a : b }

END {
	print ""
	print "One cable without limit, MB/s              WRITE      READ      SEND   messages of 1 MiB, one QP"
	three("usb4_rxe", "ours")
	three("upstream rxe, MTU 1500", "rxe-1500", "over thunderbolt_net, as it comes")
	three("upstream rxe, MTU 9000", "rxe-9000", "over thunderbolt_net, path MTU 4096")
	line("TCP, MTU 1500 / 9000 / 65522", mb("tcp-1500"), mb("tcp-9000"), mb("tcp-65522"), "iperf3 over thunderbolt_net, one stream")
	line("TCP, MTU 9000", mb("ours-tcp"), "", "", "iperf3 over usb4_rxe's usb4eth0")
	line("USB4STREAM", mb("stream"), "", "", "bare frames: no packets, no ICRC, nothing is sent again")
	print ""
	print "64 byte WRITE latency, us"
	line("usb4_rxe", mb("ours-latency"), "", "", "")
	line("usb4_rxe, interrupts throttled", mb("ours-throttled-latency"), "", "", "by the fabric, to one in 128 us, as thunderbolt_net has it")
	line("upstream rxe, MTU 1500 / 9000", mb("rxe-1500-latency"), mb("rxe-9000-latency"), "", "thunderbolt_net asks for that throttling itself")
	print ""
	printf "Cables of %s MB/s, MB/s                    1 cable  2 cables  4 cables   one QP\n", mb("cap") + 0
	line("usb4_rxe WRITE", mb("ours-1-capped-write"), mb("ours-2-capped-write"), mb("ours-4-capped-write"))
	line("usb4_rxe READ", mb("ours-1-capped-read"), mb("ours-2-capped-read"), mb("ours-4-capped-read"))
	print ""
	print "Ratios                                                          measured   wanted"
	operations = split("write read send", operation, " ")
	for (i = 1; i <= operations; i++)
		ratio(toupper(operation[i]) ": usb4_rxe / upstream rxe as it comes", median("ours-" operation[i]), median("rxe-1500-" operation[i]), ">= 3")
	for (i = 1; i <= operations; i++)
		ratio(toupper(operation[i]) ": usb4_rxe / upstream rxe with the better MTU", median("ours-" operation[i]), larger(median("rxe-1500-" operation[i]), median("rxe-9000-" operation[i])), ">= 3")
	for (i = 1; i <= operations; i++)
		ratio(toupper(operation[i]) ": usb4_rxe / TCP over thunderbolt_net as it comes", median("ours-" operation[i]), median("tcp-1500"), ">= 1")
	for (i = 1; i <= operations; i++)
		ratio(toupper(operation[i]) ": usb4_rxe / TCP over thunderbolt_net with the best MTU", median("ours-" operation[i]), larger(median("tcp-1500"), larger(median("tcp-9000"), median("tcp-65522"))), ">= 1")
	ratio("WRITE: usb4_rxe / USB4STREAM", median("ours-write"), median("stream"), ">= 0.7")
	ratio("latency: usb4_rxe / upstream rxe with the better MTU", median("ours-latency"), smaller(median("rxe-1500-latency"), median("rxe-9000-latency")), "<= 0.33")
	ratio("latency: the same, usb4_rxe throttled as thunderbolt_net is", median("ours-throttled-latency"), smaller(median("rxe-1500-latency"), median("rxe-9000-latency")), "")
	for (cables = 1; cables <= 4; cables *= 2)
		for (i = 1; i <= 2; i++)
			ratio(toupper(operation[i]) ", capped: goodput / cap, cables: " cables, median("ours-" cables "-capped-" operation[i]), cables * median("cap"), ">= 0.93")
	ratio("WRITE, capped: two cables / one", median("ours-2-capped-write"), median("ours-1-capped-write"), ">= 1.9")
	ratio("WRITE, capped: four cables / one", median("ours-4-capped-write"), median("ours-1-capped-write"), ">= 3.6")
	ratio("READ, capped: two cables / one", median("ours-2-capped-read"), median("ours-1-capped-read"), ">= 1.9")
	ratio("READ, capped: four cables / one", median("ours-4-capped-read"), median("ours-1-capped-read"), ">= 3.6")
	ratio("WRITE: frames on the cable per 4 KiB packet", median("ours-write-frames"), 1, "<= 1.05")
	ratio("READ: frames on the cable per 4 KiB packet", median("ours-read-frames"), 1, "<= 1.05")
	print ""
	printf "%d of %d wanted ratios are met. Guests are emulated or share CPUs: only ratios of one run mean something.\n", met, wanted_count
}
