# SPDX-License-Identifier: GPL-2.0-only
# Bars of the bandwidths and latencies, as SVG.   awk -f median.awk -f plot.awk FIGURES

function bar(title, value, most, colour) {
	if (!value)
		return
	width = 420 * value / most
	body = body sprintf("<text x=\"210\" y=\"%d\" text-anchor=\"end\">%s</text><rect x=\"220\" y=\"%d\" width=\"%.1f\" height=\"14\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\">%.1f</text>\n",
		y + 11, title, y, width, colour, 226 + width, y + 11, value)
	y += 20
}

function head(title) {
	y += 16
	body = body sprintf("<text x=\"10\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y, title)
	y += 10
}

function largest(names,    list, i, most) {
	for (i = split(names, list, " "); i > 0; i--)
		if (median(list[i]) > most)
			most = median(list[i])
	return most
}

END {
	ours = "#c4441c"
	other = "#8899aa"
	y = 0
	most = largest("ours-write ours-read ours-send tcp-1500 tcp-9000 tcp-65522 stream rxe-9000-write rxe-9000-read rxe-9000-send")
	split("write read send", operation, " ")
	for (i = 1; i <= 3; i++) {
		head(toupper(operation[i]) " of 1 MiB over one cable, MB/s")
		bar("usb4_rxe", median("ours-" operation[i]), most, ours)
		bar("upstream rxe, MTU 1500", median("rxe-1500-" operation[i]), most, other)
		bar("upstream rxe, MTU 9000", median("rxe-9000-" operation[i]), most, other)
	}
	head("other ways over the same cable, MB/s")
	bar("TCP, thunderbolt_net, MTU 1500", median("tcp-1500"), most, other)
	bar("TCP, thunderbolt_net, MTU 65522", median("tcp-65522"), most, other)
	bar("USB4STREAM", median("stream"), most, other)
	head("64 byte WRITE latency, us")
	most = largest("ours-latency rxe-1500-latency rxe-9000-latency ours-throttled-latency")
	bar("usb4_rxe", median("ours-latency"), most, ours)
	bar("usb4_rxe, throttled", median("ours-throttled-latency"), most, ours)
	bar("upstream rxe, MTU 1500", median("rxe-1500-latency"), most, other)
	bar("upstream rxe, MTU 9000", median("rxe-9000-latency"), most, other)
	head(sprintf("WRITE over cables of %d MB/s each, MB/s", median("cap")))
	most = largest("ours-4-capped-write ours-2-capped-write")
	bar("1 cable", median("ours-1-capped-write"), most, ours)
	bar("2 cables", median("ours-2-capped-write"), most, ours)
	bar("4 cables", median("ours-4-capped-write"), most, ours)
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n%s</svg>\n", y + 16, body
}
