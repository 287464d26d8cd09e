# SPDX-License-Identifier: GPL-2.0-only
# Reads "name value" lines, many for a name: median(name), spread(name), has(name). MiB/s become MB/s.

NF == 2 {
	value = $2
	if ($1 ~ /-(write|read|send)$/)
		value *= 1.048576
	count[$1]++
	values[$1, count[$1]] = value + 0
}

function has(name) { return count[name] > 0 }

function median(name, i, j, n, swap, sorted) {
	n = count[name]
	if (!n)
		return 0
	for (i = 1; i <= n; i++)
		sorted[i] = values[name, i]
	for (i = 1; i <= n; i++)
		for (j = i + 1; j <= n; j++)
			if (sorted[j] < sorted[i]) {
				swap = sorted[i]
				sorted[i] = sorted[j]
				sorted[j] = swap
			}
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}
