// SPDX-License-Identifier: GPL-2.0-only
/*
 * A well-behaved user: two QPs of one process, connected to each other, exchange random messages until the time is over. Every byte is
 * checked, those around the message too; every completion must come, and come in time.
 *
 *   honest KIND DEVICE GID-INDEX SECONDS [SEED]      KIND: rc, srq, uc, ud, odp
 *
 * Unreliable kinds may lose a message now and then (that is counted), but not change one. SIGTERM ends it before its time, in good order.
 */
#include "rig.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define AREA (256 * 1024) /* for each direction; messages lie somewhere in it */
#define LONGEST 65536
#define BURST 16
#define RELIABLE_MS 20000 /* a completion later than this is lost; an emulated, busy machine takes its time */
#define UNRELIABLE_MS 1000
#define GRH 40

enum operation { SEND, SEND_IMM, SEND_INLINE, WRITE, WRITE_IMM, WRITE_BURST, READ, FETCH_ADD, COMPARE_SWAP, OPERATIONS };

static const char *const names[OPERATIONS] = { "send", "send-imm", "send-inline", "write", "write-imm",
					       "write-burst", "read", "fetch-add", "compare-swap" };

static struct rig rig;
static struct ibv_comp_channel *channel;
static struct ibv_cq *cq;
static struct ibv_srq *srq;
static struct ibv_qp *near, *far; /* near sends to far */
static struct ibv_ah *ah;
static struct ibv_mr *mr;
static uint8_t *source, *sink, *expected; /* AREA bytes each; the first two are registered */
static uint64_t random_state;
static bool reliable;
static unsigned long done[OPERATIONS], lost;

/* Waits for one completion by event. False when none comes in time. */
static bool completion(struct ibv_wc *wc, int milliseconds)
{
	double end = rig_now() + milliseconds / 1e3;

	for (;;) {
		struct pollfd ready = { .fd = channel->fd, .events = POLLIN };
		struct ibv_cq *which;
		void *context;
		int left, count = ibv_poll_cq(cq, 1, wc);

		if (!count) {
			if (ibv_req_notify_cq(cq, 0))
				rig_die("cannot arm the CQ");
			count = ibv_poll_cq(cq, 1, wc);
		}
		if (count < 0)
			rig_die("cannot poll the CQ");
		if (count)
			return true;
		left = (int)((end - rig_now()) * 1e3);
		if (left <= 0 || poll(&ready, 1, left) <= 0)
			return false;
		if (ibv_get_cq_event(channel, &which, &context))
			rig_die("cannot take an event");
		ibv_ack_cq_events(which, 1);
	}
}

static void drain(void)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(cq, 1, &wc) > 0)
		;
}

static void post_recv(uint32_t at, uint32_t length)
{
	struct ibv_sge sge = { (uintptr_t)sink + at, length, mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = 1000, .sg_list = &sge, .num_sge = 1 }, *bad;

	if (srq ? ibv_post_srq_recv(srq, &wr, &bad) : ibv_post_recv(far, &wr, &bad))
		rig_die("cannot post a receive");
}

static void post_send(enum ibv_wr_opcode opcode, uint32_t from, uint32_t to, uint32_t length, uint32_t imm, uint64_t id)
{
	struct ibv_sge sge = { (uintptr_t)source + from, length, mr->lkey };
	struct ibv_send_wr wr = {
		.wr_id = id,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.imm_data = htonl(imm),
		.send_flags = IBV_SEND_SIGNALED | (imm & 1 ? IBV_SEND_SOLICITED : 0),
	}, *bad;

	if (opcode == IBV_WR_SEND && length <= RIG_INLINE && (imm & 2))
		wr.send_flags |= IBV_SEND_INLINE;
	if (near->qp_type == IBV_QPT_UD) {
		wr.wr.ud.ah = ah;
		wr.wr.ud.remote_qpn = far->qp_num;
		wr.wr.ud.remote_qkey = RIG_QKEY;
	} else {
		wr.wr.rdma.remote_addr = (uintptr_t)sink + to;
		wr.wr.rdma.rkey = mr->rkey;
	}
	if (ibv_post_send(near, &wr, &bad))
		rig_die("cannot post a send");
}

/* Takes `count` completions; each must be a success. Returns false when an unreliable message got lost. */
static bool complete(enum operation operation, int count, uint32_t received, uint32_t imm)
{
	struct ibv_wc wc;

	while (count--) {
		if (!completion(&wc, reliable ? RELIABLE_MS : UNRELIABLE_MS)) {
			if (reliable)
				rig_die("%s: no completion within %d ms", names[operation], RELIABLE_MS);
			lost++;
			return false;
		}
		if (wc.status != IBV_WC_SUCCESS)
			rig_die("%s: completion %s, vendor error %#x", names[operation], ibv_wc_status_str(wc.status), wc.vendor_err);
		if (wc.qp_num != (wc.wr_id == 1000 ? far : near)->qp_num)
			rig_die("%s: completion of QP %u", names[operation], wc.qp_num);
		if (wc.wr_id != 1000)
			continue;
		if (wc.byte_len != received)
			rig_die("%s: %u bytes received, %u were sent", names[operation], wc.byte_len, received);
		if ((operation == SEND_IMM || operation == WRITE_IMM) && (!(wc.wc_flags & IBV_WC_WITH_IMM) || ntohl(wc.imm_data) != imm))
			rig_die("%s: immediate %#x, %#x was sent", names[operation], ntohl(wc.imm_data), imm);
	}
	return true;
}

static void check(enum operation operation, const uint8_t *is)
{
	if (!memcmp(is, expected, AREA))
		return;
	for (uint32_t at = 0; at < AREA; at++)
		if (is[at] != expected[at])
			rig_die("%s: byte %u is %#x and should be %#x", names[operation], at, is[at], expected[at]);
}

/* A length that is short, at the edge of a packet, or anything. */
static uint32_t some_length(enum operation operation)
{
	uint32_t mtu = rig_mtu_bytes(&rig);

	if (operation == SEND_INLINE)
		return rig_below(&random_state, RIG_INLINE + 1);
	if (near->qp_type == IBV_QPT_UD)
		return rig_below(&random_state, mtu + 1);
	switch (rig_below(&random_state, 4)) {
	case 0:
		return rig_below(&random_state, 64);
	case 1:
		return mtu * (1 + rig_below(&random_state, 8)) + rig_below(&random_state, 5) - 2;
	default:
		return rig_below(&random_state, LONGEST + 1);
	}
}

static void fill(uint8_t *area)
{
	for (uint32_t at = 0; at < AREA; at += 8) {
		uint64_t word = rig_random(&random_state);

		memcpy(area + at, &word, 8);
	}
}

static void message(enum operation operation)
{
	bool ud = near->qp_type == IBV_QPT_UD;
	uint32_t length = some_length(operation), from = rig_below(&random_state, AREA - LONGEST);
	uint32_t to = rig_below(&random_state, AREA - LONGEST - GRH), imm = (uint32_t)rig_random(&random_state);
	uint32_t grh = ud ? GRH : 0;
	bool arrived;

	if (operation == SEND_INLINE)
		imm |= 2;
	else
		imm &= ~2u;
	memcpy(expected, sink, AREA);
	switch (operation) {
	case SEND:
	case SEND_IMM:
	case SEND_INLINE:
		post_recv(to, length + grh + rig_below(&random_state, 100));
		post_send(operation == SEND_IMM ? IBV_WR_SEND_WITH_IMM : IBV_WR_SEND, from, 0, length, imm, 1);
		arrived = complete(operation, 2, length + grh, imm);
		break;
	case WRITE:
		post_send(IBV_WR_RDMA_WRITE, from, to, length, imm, 1);
		arrived = complete(operation, 1, 0, imm);
		break;
	case WRITE_IMM:
		post_recv(0, 0);
		post_send(IBV_WR_RDMA_WRITE_WITH_IMM, from, to, length, imm, 1);
		arrived = complete(operation, 2, length, imm);
		break;
	default:
		return;
	}
	if (!arrived) {
		unsigned long all = 0;

		for (int i = 0; i < OPERATIONS; i++)
			all += done[i];
		if (lost > 10 && lost > all / 2)
			rig_die("%lu of %lu messages are lost", lost, all + 1);
		/* The receive that nobody answered would take the next message: begin again. */
		if (rig_connect(&rig, near, far->qp_num) || rig_connect(&rig, far, near->qp_num))
			rig_die("cannot connect again");
		drain();
		return;
	}
	if (ud)
		memcpy(expected + to, sink + to, GRH); /* the header is whatever it is */
	memcpy(expected + to + grh, source + from, length);
	check(operation, sink);
}

static void burst(void)
{
	uint32_t piece = AREA / BURST, from[BURST], length[BURST];

	memcpy(expected, sink, AREA);
	for (int i = 0; i < BURST; i++) {
		length[i] = rig_below(&random_state, piece);
		from[i] = rig_below(&random_state, AREA - piece);
		post_send(IBV_WR_RDMA_WRITE, from[i], i * piece, length[i], 0, 1);
		memcpy(expected + i * piece, source + from[i], length[i]);
	}
	complete(WRITE_BURST, BURST, 0, 0);
	check(WRITE_BURST, sink);
}

/* Reads from the sink into the source: the other way round. */
static void read_back(void)
{
	uint32_t length = some_length(READ), from = rig_below(&random_state, AREA - LONGEST), to = rig_below(&random_state, AREA - LONGEST);

	memcpy(expected, source, AREA);
	memcpy(expected + from, sink + to, length);
	post_send(IBV_WR_RDMA_READ, from, to, length, 0, 1);
	complete(READ, 1, 0, 0);
	check(READ, source);
}

static void atomic(enum operation operation)
{
	uint32_t from = 8 * rig_below(&random_state, AREA / 8), to = 8 * rig_below(&random_state, AREA / 8);
	uint64_t was, operand = rig_random(&random_state), swap = rig_random(&random_state), is, old;
	struct ibv_sge sge = { (uintptr_t)source + from, 8, mr->lkey };
	struct ibv_send_wr wr = { .wr_id = 1, .sg_list = &sge, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED }, *bad;

	memcpy(&was, sink + to, 8);
	wr.opcode = operation == FETCH_ADD ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_ATOMIC_CMP_AND_SWP;
	wr.wr.atomic.remote_addr = (uintptr_t)sink + to;
	wr.wr.atomic.rkey = mr->rkey;
	if (operation == COMPARE_SWAP && rig_below(&random_state, 2))
		operand = was;
	wr.wr.atomic.compare_add = operand;
	wr.wr.atomic.swap = swap;
	if (ibv_post_send(near, &wr, &bad))
		rig_die("cannot post an atomic");
	complete(operation, 1, 0, 0);
	memcpy(&old, source + from, 8);
	memcpy(&is, sink + to, 8);
	if (old != was || is != (operation == FETCH_ADD ? was + operand : operand == was ? swap : was))
		rig_die("%s: it was %#lx, returned %#lx, left %#lx", names[operation], was, old, is);
}

static void step(void)
{
	/* An unreliable write leaves no trace of when, or whether, it arrived. */
	static const enum operation unreliable[] = { SEND, SEND_IMM, SEND_INLINE, WRITE_IMM };
	enum operation operation = reliable ? rig_below(&random_state, OPERATIONS) :
					      unreliable[rig_below(&random_state, near->qp_type == IBV_QPT_UC ? 4 : 3)];

	switch (operation) {
	case WRITE_BURST:
		burst();
		break;
	case READ:
		read_back();
		break;
	case FETCH_ADD:
	case COMPARE_SWAP:
		atomic(operation);
		break;
	default:
		message(operation);
	}
	done[operation]++;
}

/* It waits until somebody looks: a signal that comes would end a poll before its time. */
static bool told_to_end(void)
{
	sigset_t waiting;

	return !sigpending(&waiting) && sigismember(&waiting, SIGTERM);
}

int main(int argc, char **argv)
{
	double end;
	bool ud, uc, odp;
	uint8_t *memory;
	sigset_t end_signals;

	if (argc < 5) {
		fprintf(stderr, "usage: honest rc|srq|uc|ud|odp DEVICE GID-INDEX SECONDS [SEED]\n");
		return 2;
	}
	ud = !strcmp(argv[1], "ud");
	uc = !strcmp(argv[1], "uc");
	odp = !strcmp(argv[1], "odp");
	reliable = !ud && !uc;
	random_state = argc > 5 ? strtoull(argv[5], NULL, 0) : 1;
	rig_open(&rig, argv[2], atoi(argv[3]));
	channel = ibv_create_comp_channel(rig.context);
	if (!channel)
		rig_die("cannot create a channel");
	cq = rig_cq(&rig, 4 * RIG_SLOTS, channel);
	if (!strcmp(argv[1], "srq")) {
		struct ibv_srq_init_attr init = { .attr = { RIG_SLOTS, 1, 0 } };

		srq = ibv_create_srq(rig.pd, &init);
		if (!srq)
			rig_die("cannot create an SRQ");
	}
	memory = mmap(NULL, 3 * AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		rig_die("no memory");
	source = memory;
	sink = source + AREA;
	expected = sink + AREA;
	mr = rig_mr(&rig, memory, 2 * AREA, odp ? IBV_ACCESS_ON_DEMAND : 0);
	near = rig_qp(&rig, ud ? IBV_QPT_UD : uc ? IBV_QPT_UC : IBV_QPT_RC, cq, srq);
	far = rig_qp(&rig, near->qp_type, cq, srq);
	if (rig_connect(&rig, near, far->qp_num) || rig_connect(&rig, far, near->qp_num))
		rig_die("cannot connect");
	ah = ud ? rig_ah(&rig) : NULL;
	fill(source);
	fill(sink);

	sigemptyset(&end_signals);
	sigaddset(&end_signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &end_signals, NULL);
	puts("ready");
	fflush(stdout);
	for (end = rig_now() + atof(argv[4]); rig_now() < end && !told_to_end();) {
		if (!rig_below(&random_state, 16))
			fill(source);
		if (odp && !rig_below(&random_state, 64))
			madvise(sink, AREA, MADV_DONTNEED); /* pages go, and come back as zeros when touched */
		step();
	}
	for (int i = 0; i < OPERATIONS; i++)
		if (done[i])
			printf("%s %lu  ", names[i], done[i]);
	printf("lost %lu\n", lost);
	/* In the order that the verbs ask for: a refusal is a fault too. */
	if (ibv_destroy_qp(near) || ibv_destroy_qp(far) || (ah && ibv_destroy_ah(ah)) || (srq && ibv_destroy_srq(srq)) ||
	    ibv_dereg_mr(mr) || ibv_destroy_cq(cq) || ibv_destroy_comp_channel(channel) || ibv_dealloc_pd(rig.pd) ||
	    ibv_close_device(rig.context))
		rig_die("cannot take everything down");
	return 0;
}
