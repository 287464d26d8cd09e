// SPDX-License-Identifier: GPL-2.0-only
/* Options, the life of a run, its verdict. */
#include "soak.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x50a50001

struct soak soak = {
	.terms = { .magic = MAGIC, .bytes = sizeof(struct terms), .rc = 16, .largest = 4 << 20, .seconds = 10, .timeout = 16, .retries = 7, .rnr_retries = 7 },
	.hang_seconds = 60,
	.grace_seconds = 10,
};

static const char usage[] =
	"soak -d DEVICE -g GID-INDEX [OPTION...] [PEER]     without PEER: waits for one, and does what it says\n"
	"\n"
	"  -q, --rc N            reliable QPs (16)\n"
	"      --uc N, --ud N    unreliable ones (0)\n"
	"  -t, --seconds N       how long (10)\n"
	"  -n, --messages N      or when each end has sent so many\n"
	"  -s, --largest BYTES   largest message, up to 8 MiB; every fourth QP takes it, the others an eighth (4194304)\n"
	"      --no-empty        no reliable message without any bytes\n"
	"      --seed N          of all that is random (taken from the clock, and printed)\n"
	"      --mtu BYTES       path MTU (the smaller one of both ports)\n"
	"      --timeout N, --retries N, --rnr-retries N    of the QPs (16, 7, 7)\n"
	"\n"
	"At either end:\n"
	"  -p, --port N          TCP port (18700)\n"
	"      --may-lose        unreliable QPs may lose messages, up to half of those of UC and of UD; else none\n"
	"      --hang N          seconds without a completion that are too many (60)\n"
	"      --expect-errors   the connection will be lost: all requests must complete, and some because retries ran out\n"
	"      --device-may-go   or the device goes away, which ends the run well\n"
	"      --grace N         seconds from the first error until all QPs are put into the error state (10)\n";

enum { UC = 256, UD, NO_EMPTY, SEED, MTU, TIMEOUT, RETRIES, RNR_RETRIES, MAY_LOSE, HANG, EXPECT_ERRORS, DEVICE_MAY_GO, GRACE };

static const struct option options[] = {
	{ "rc", 1, 0, 'q' }, { "uc", 1, 0, UC }, { "ud", 1, 0, UD }, { "seconds", 1, 0, 't' }, { "messages", 1, 0, 'n' },
	{ "largest", 1, 0, 's' }, { "no-empty", 0, 0, NO_EMPTY }, { "seed", 1, 0, SEED }, { "mtu", 1, 0, MTU }, { "timeout", 1, 0, TIMEOUT }, { "retries", 1, 0, RETRIES },
	{ "rnr-retries", 1, 0, RNR_RETRIES }, { "port", 1, 0, 'p' }, { "may-lose", 0, 0, MAY_LOSE }, { "hang", 1, 0, HANG }, { "expect-errors", 0, 0, EXPECT_ERRORS },
	{ "device-may-go", 0, 0, DEVICE_MAY_GO }, { "grace", 1, 0, GRACE }, { 0 },
};

static const char *device, *peer;
static int port = 18700;
static uint32_t wanted_mtu;

void die(const char *format, ...)
{
	va_list list;

	printf("soak: FAIL: ");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	printf(" (seed %lu)\n", soak.terms.seed);
	fflush(stdout);
	/* No tidying: the kernel takes it all. */
	_exit(1);
}

static void parse(int argc, char **argv)
{
	struct terms *terms = &soak.terms;
	int option;

	soak.gid_index = -1;
	while ((option = getopt_long(argc, argv, "d:g:q:t:n:s:p:", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 'd': device = optarg; break;
		case 'g': soak.gid_index = (int)number; break;
		case 'q': terms->rc = (uint32_t)number; break;
		case UC: terms->uc = (uint32_t)number; break;
		case UD: terms->ud = (uint32_t)number; break;
		case 't': terms->seconds = (uint32_t)number; break;
		case 'n': terms->messages = number; break;
		case 's': terms->largest = (uint32_t)number; break;
		case NO_EMPTY: terms->smallest = 1; break;
		case SEED: terms->seed = number; break;
		case MTU: wanted_mtu = (uint32_t)number; break;
		case TIMEOUT: terms->timeout = (uint8_t)number; break;
		case RETRIES: terms->retries = (uint8_t)number; break;
		case RNR_RETRIES: terms->rnr_retries = (uint8_t)number; break;
		case 'p': port = (int)number; break;
		case MAY_LOSE: soak.may_lose = true; break;
		case HANG: soak.hang_seconds = (int)number; break;
		case EXPECT_ERRORS: soak.expects_errors = true; break;
		case DEVICE_MAY_GO: soak.device_may_go = true; break;
		case GRACE: soak.grace_seconds = (int)number; break;
		default: fputs(usage, stderr); exit(2);
		}
	}
	peer = argv[optind];
	if (!device || soak.gid_index < 0 || (peer && argv[optind + 1])) {
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

	exchange(fd, &soak.terms, &theirs, sizeof(theirs));
	if (theirs.magic != MAGIC || theirs.bytes != sizeof(theirs))
		die("the peer is another version of this program");
	if (!soak.is_client)
		soak.terms = theirs;
	soak.qps = (int)(soak.terms.rc + soak.terms.uc + soak.terms.ud);
	if (soak.terms.rc > MAX_QPS || soak.terms.uc > MAX_QPS || soak.terms.ud > MAX_QPS || soak.qps < 1 || soak.qps > MAX_QPS)
		die("1 to %d QPs", MAX_QPS);
	if (!soak.terms.largest || soak.terms.largest > 8 << 20)
		die("messages are of 1 byte to 8 MiB");
}

static bool is_uc(int qp)
{
	return qp <= (int)(soak.terms.rc + soak.terms.uc);
}

static void set_up(int fd)
{
	char ready = 1;

	open_device(device);
	if (wanted_mtu && wanted_mtu < soak.near.mtu)
		soak.near.mtu = wanted_mtu;
	/* The MTU is part of the plan, so it comes first. */
	exchange(fd, &soak.near, &soak.far, sizeof(soak.far));
	soak.mtu = soak.near.mtu < soak.far.mtu ? soak.near.mtu : soak.far.mtu;
	control_open();
	for (int qp = 1; qp <= soak.qps; qp++)
		is_reliable(qp) ? reliable_open(qp) : lossy_open(qp, is_uc(qp) ? IBV_QPT_UC : IBV_QPT_UD);
	exchange(fd, &soak.near, &soak.far, sizeof(soak.far));
	control_begin();
	for (int qp = 1; qp <= soak.qps; qp++)
		is_reliable(qp) ? reliable_begin(qp) : lossy_begin(qp);
	exchange(fd, &ready, &ready, 1);
}

static void take_down(void)
{
	for (int qp = 1; qp <= soak.qps; qp++)
		is_reliable(qp) ? reliable_close(qp) : lossy_close(qp);
	control_close();
	close_device();
}

static void judge_lossy(const char *type, uint32_t qps, const struct lossy_totals *of)
{
	if (!qps)
		return;
	printf("%s: sent %lu, received %lu, lost %lu\n", type, of->sent, of->received, of->lost);
	if (!soak.expects_errors && of->lost > (soak.may_lose ? of->received : 0))
		die("%lu messages to %s QPs are lost, %lu came", of->lost, type, of->received);
}

int main(int argc, char **argv)
{
	char done = 1;
	double began;
	int fd;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	soak.is_client = peer;
	fd = exchange_open(peer, port);
	agree(fd);
	set_up(fd);
	printf("running: seed %lu, %u RC, %u UC, %u UD, MTU %u, messages up to %u bytes\n", soak.terms.seed, soak.terms.rc, soak.terms.uc,
	       soak.terms.ud, soak.mtu, soak.terms.largest);
	began = now();
	run();
	began = now() - began;
	/* An acknowledgement that we owe would never come from a QP that is gone. */
	if (!soak.expects_errors)
		exchange(fd, &done, &done, 1);
	close(fd);
	take_down();

	for (int kind = 0; kind < KINDS; kind++)
		printf("%s %lu  ", kind_names[kind], totals.messages[kind]);
	printf("\n");
	judge_lossy("UC", soak.terms.uc, &totals.uc);
	judge_lossy("UD", soak.terms.ud, &totals.ud);
	printf("soak: PASS: %.1f s, %.1f MB out, %.1f MB in, longest pause %.0f ms", began, totals.bytes_out / 1e6, totals.bytes_in / 1e6,
	       totals.longest_pause * 1e3);
	if (soak.expects_errors)
		printf(", %lu errors and %lu flushed as expected", totals.errors, totals.flushed);
	printf(" (seed %lu)\n", soak.terms.seed);
	return 0;
}
