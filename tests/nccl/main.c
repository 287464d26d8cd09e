// SPDX-License-Identifier: GPL-2.0-only
/* Options, the life of a run, its verdict. */
#include "nccl.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x2cc10001

struct nccl nccl = {
	.terms = { .magic = MAGIC, .bytes = sizeof(struct terms), .seconds = 10, .qps = 2, .timeout = 20 },
	.hang_seconds = 60,
};

static const char usage[] =
	"nccl -d DEVICE [OPTION...] [PEER]     without PEER: waits for one, and does what it says\n"
	"\n"
	"  -q, --qps N           of each connection (2)\n"
	"      --split           a message goes over all of them, not over the next one\n"
	"      --adaptive        an empty write follows each long message\n"
	"      --inline          the fifo is written with inline data\n"
	"      --timeout N       of the QPs (20)\n"
	"  -t, --seconds N       how long (10)\n"
	"      --seed N          of all that is random (taken from the clock, and printed)\n"
	"\n"
	"At either end:\n"
	"  -p, --port N          TCP port (18800)\n"
	"  -g, --gid N           the GID that must be found\n"
	"      --gbps N          the speed that must be found, at least\n"
	"      --port-events     the port may go down and come back\n"
	"      --hang N          seconds without progress that are too many (60)\n";

enum { SPLIT = 256, ADAPTIVE_ROUTING, INLINED, TIMEOUT, SEED, GBPS, PORT_EVENTS, HANG };

static const struct option options[] = {
	{ "qps", 1, 0, 'q' }, { "split", 0, 0, SPLIT }, { "adaptive", 0, 0, ADAPTIVE_ROUTING }, { "inline", 0, 0, INLINED },
	{ "timeout", 1, 0, TIMEOUT }, { "seconds", 1, 0, 't' }, { "seed", 1, 0, SEED }, { "port", 1, 0, 'p' }, { "gid", 1, 0, 'g' },
	{ "gbps", 1, 0, GBPS }, { "port-events", 0, 0, PORT_EVENTS }, { "hang", 1, 0, HANG }, { 0 },
};

static const char *device_name, *peer;
static int port = 18800, gid = -1, gbps;

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int qps_per_message(void)
{
	return nccl.terms.split ? (int)nccl.terms.qps : 1;
}

/* What makes the same run again. */
static void print_terms(void)
{
	const struct terms *terms = &nccl.terms;

	printf("--qps %u%s%s%s --timeout %u --seed %lu", terms->qps, terms->split ? " --split" : "", terms->adaptive ? " --adaptive" : "",
	       terms->inlined ? " --inline" : "", terms->timeout, terms->seed);
}

void die(const char *format, ...)
{
	va_list list;

	printf("nccl: FAIL: ");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf(" (again: ");
	print_terms();
	printf(")\n");
	fflush(stdout);
	/* No tidying: the kernel takes it all. */
	_exit(1);
}

static void parse(int argc, char **argv)
{
	struct terms *terms = &nccl.terms;
	int option;

	while ((option = getopt_long(argc, argv, "d:g:q:t:p:", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 'd': device_name = optarg; break;
		case 'g': gid = (int)number; break;
		case 'q': terms->qps = (uint32_t)number; break;
		case SPLIT: terms->split = true; break;
		case ADAPTIVE_ROUTING: terms->adaptive = true; break;
		case INLINED: terms->inlined = true; break;
		case TIMEOUT: terms->timeout = (uint8_t)number; break;
		case 't': terms->seconds = (uint32_t)number; break;
		case SEED: terms->seed = number; break;
		case 'p': port = (int)number; break;
		case GBPS: gbps = (int)number; break;
		case PORT_EVENTS: nccl.port_events = true; break;
		case HANG: nccl.hang_seconds = (double)number; break;
		default: fputs(usage, stderr); exit(2);
		}
	}
	peer = argv[optind];
	nccl.is_client = peer;
	if (!device_name || (peer && argv[optind + 1]) || terms->qps < 1 || terms->qps > MAX_QPS) {
		fputs(usage, stderr);
		exit(2);
	}
	if (!terms->seed)
		terms->seed = (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid();
}

/* The server takes the client's terms for its own. */
static void agree(int fd)
{
	struct terms theirs;

	exchange(fd, &nccl.terms, &theirs, sizeof(theirs));
	if (theirs.magic != MAGIC || theirs.bytes != sizeof(theirs))
		die("the peer is another version of this program");
	if (!nccl.is_client)
		nccl.terms = theirs;
	printf("terms: ");
	print_terms();
	printf("\n");
}

int main(int argc, char **argv)
{
	struct sender *sender;
	struct receiver *receiver;
	int fd;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	device_open(device_name);
	if (gid >= 0)
		device_check_gid(gid);
	if (device.speed < gbps * 1000)
		die("NCCL would take %s for %d Mb/s; its cables have %d Gb/s", device.name, device.speed, gbps);
	fd = exchange_open(peer, port);
	agree(fd);
	connect_both(fd, &sender, &receiver);
	traffic_open(sender, receiver);
	traffic_run(fd);
	traffic_close();
	close(fd);
	close_sender(sender);
	close_receiver(receiver);
	printf("nccl: PASS: %.1f s, %lu messages in %lu groups, %.1f MB/s in, %.1f MB/s out, longest message %.0f ms (seed %lu)\n", totals.seconds,
	       totals.messages, totals.groups, (double)totals.bytes_in / 1e6 / totals.seconds, (double)totals.bytes_out / 1e6 / totals.seconds,
	       totals.longest * 1e3, nccl.terms.seed);
	return 0;
}
