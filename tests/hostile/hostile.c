// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hostile user: it opens the device like anybody, has its queues mapped, and then writes what it likes into them while traffic runs.
 *
 *   hostile DEVICE GID-INDEX SECONDS SEED [AT-ONCE]
 *   hostile DEVICE GID-INDEX 0 SEED                  one attacker only, with this very seed
 *
 * The parent starts one attacker after the other, AT-ONCE of them at the same time, each with a seed of its own that it prints with the attacker's end. An
 * attacker may crash, having ruined its own memory, if few do. It may not become unkillable: that is what the parent watches.
 *
 * An attacker first does honest work with each kind of request, so that it has well-formed queue elements to start from, then for a second or two:
 *
 *   thread 1   any of `acts`: posts templates whole, mutated or random, by writing element, index and doorbell itself;
 *              changes states, resizes, destroys and creates anew, under its own traffic
 *   thread 2   scribbles words over indices, headers and elements without a pause
 *
 * Queue layout: struct rxe_queue_buf of <rdma/rdma_user_rxe.h>; which mapping belongs to which object is seen from what appears in
 * /proc/self/maps when the object is created.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_rxe.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS 4 /* RC, UC, UD, RC with an SRQ */
#define QUEUES 32
#define TEMPLATES 40
#define ELEMENT 1024 /* largest element that a queue of ours has */
#define AREA 65536
#define REACH (sizeof(struct rxe_send_wqe) + 2 * sizeof(struct rxe_sge)) /* how far into an element, or past a short one, mutate() writes */
#ifndef ATTACK_SECONDS
#define ATTACK_SECONDS 1.5
#endif
#define PATIENCE 30 /* seconds that an attacker may take to end, once it should */

/* A queue as it lies in our memory. */
struct queue {
	struct rxe_queue_buf *buf;
	size_t bytes;
	uint32_t element, mask; /* as they were when nobody had written there */
};

struct pair {
	struct ibv_qp *qp[2];
	struct ibv_srq *srq;
	struct queue send[2], recv[2];
};

struct template {
	uint8_t bytes[ELEMENT];
	uint32_t element;
};

static struct rig rig;
static struct ibv_comp_channel *channel;
static struct ibv_cq *cq;
static struct queue completions, shared;
static struct ibv_ah *ah;
static struct ibv_mr *mr, *on_demand;
static struct ibv_mw *mw;
static uint8_t *area;
static struct pair pairs[PAIRS];
static struct template templates[TEMPLATES];
static unsigned n_templates;
static uint64_t random_state;
static volatile bool stop;

/* What all attackers together have done, in memory that they share with the parent. */
static struct {
	unsigned long templates, acts, scribbles;
	unsigned long completions; /* of the honest work at the beginning */
} *total;

static void count(unsigned long *what, unsigned long more)
{
	__atomic_fetch_add(what, more, __ATOMIC_RELAXED);
}

static uint32_t below(uint32_t limit)
{
	return rig_below(&random_state, limit);
}

/* A number as an attacker picks it: small, at an edge, or anything. */
static uint32_t nasty(uint64_t *state)
{
	static const uint32_t edges[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff };

	switch (rig_below(state, 4)) {
	case 0:
		return rig_below(state, 256);
	case 1:
		return edges[rig_below(state, sizeof(edges) / sizeof(edges[0]))];
	case 2:
		return 1u << rig_below(state, 32);
	default:
		return (uint32_t)rig_random(state);
	}
}

/* ---- finding the queues ---- */

/* Mappings of a uverbs device in this process, in the order of their addresses. */
static unsigned mapped(struct queue *list)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned count = 0;

	while (maps && fgets(line, sizeof(line), maps) && count < QUEUES) {
		unsigned long start, end;

		if (!strstr(line, "/uverbs") || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		list[count].buf = (struct rxe_queue_buf *)start;
		list[count].bytes = end - start;
		list[count].element = 1u << (list[count].buf->log2_elem_size & 31);
		list[count].mask = list[count].buf->index_mask;
		count++;
	}
	if (maps)
		fclose(maps);
	return count;
}

static struct queue before[QUEUES];
static unsigned n_before;

static void remember_queues(void)
{
	n_before = mapped(before);
}

/* Queues that have appeared since remember_queues(), at most `limit`. */
static unsigned new_queues(struct queue *found, unsigned limit)
{
	struct queue now[QUEUES];
	unsigned n_now = mapped(now), count = 0;

	for (unsigned i = 0; i < n_now && count < limit; i++) {
		bool known = false;

		for (unsigned j = 0; j < n_before; j++)
			known |= before[j].buf == now[i].buf && before[j].bytes == now[i].bytes;
		if (!known)
			found[count++] = now[i];
	}
	return count;
}

/* ---- objects ---- */

static void create_qp(struct pair *pair, int side, enum ibv_qp_type type)
{
	struct queue found[2] = { 0 };
	unsigned count;

	remember_queues();
	pair->qp[side] = rig_qp(&rig, type, cq, pair->srq);
	count = new_queues(found, 2);
	/* Send elements are longer than receive elements with as many SGEs. */
	if (count == 2 && found[0].element > found[1].element) {
		pair->send[side] = found[0];
		pair->recv[side] = found[1];
	} else if (count) {
		pair->send[side] = found[count - 1];
		pair->recv[side] = pair->srq ? shared : found[0];
	}
}

static void connect_pair(struct pair *pair)
{
	for (int side = 0; side < 2; side++)
		if (pair->qp[side] && pair->qp[!side])
			rig_connect(&rig, pair->qp[side], pair->qp[!side]->qp_num);
}

static void create_all(void)
{
	static const enum ibv_qp_type types[PAIRS] = { IBV_QPT_RC, IBV_QPT_UC, IBV_QPT_UD, IBV_QPT_RC };
	struct ibv_srq_init_attr init = { .attr = { RIG_SLOTS, RIG_SGES, 0 } };

	channel = ibv_create_comp_channel(rig.context);
	remember_queues();
	cq = rig_cq(&rig, 4 * RIG_SLOTS, channel);
	new_queues(&completions, 1);
	remember_queues();
	pairs[3].srq = ibv_create_srq(rig.pd, &init);
	new_queues(&shared, 1);
	if (!completions.buf || !shared.buf)
		rig_die("the queues of %s are not mapped", ibv_get_device_name(rig.context->device));
	for (int i = 0; i < PAIRS; i++) {
		create_qp(&pairs[i], 0, types[i]);
		create_qp(&pairs[i], 1, types[i]);
		connect_pair(&pairs[i]);
	}
	ah = rig_ah(&rig);
	area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mr = rig_mr(&rig, area, AREA, IBV_ACCESS_MW_BIND);
	on_demand = rig_mr(&rig, area, AREA, IBV_ACCESS_ON_DEMAND | IBV_ACCESS_FLUSH_GLOBAL | IBV_ACCESS_FLUSH_PERSISTENT);
	mw = ibv_alloc_mw(rig.pd, IBV_MW_TYPE_2);
}

/* ---- honest work, for the templates ---- */

static void receive(struct pair *pair, int side)
{
	struct ibv_sge sge = { (uintptr_t)area + 32768, 16384, mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = 7, .sg_list = &sge, .num_sge = 1 }, *bad;

	if (pair->srq)
		ibv_post_srq_recv(pair->srq, &wr, &bad);
	else
		ibv_post_recv(pair->qp[side], &wr, &bad);
}

static void drain(unsigned milliseconds)
{
	struct ibv_wc wc;
	double end = rig_now() + milliseconds / 1e3;

	while (rig_now() < end) {
		if (ibv_poll_cq(cq, 1, &wc) <= 0)
			usleep(500);
		else if (wc.status == IBV_WC_SUCCESS)
			count(&total->completions, 1);
	}
}

/* Keeps the element that was posted last, and returns where. */
static void *keep(const struct queue *queue)
{
	uint32_t slot = (queue->buf->producer_index - 1) & queue->mask;
	struct template *place = &templates[n_templates];

	if (n_templates == TEMPLATES || queue->element > ELEMENT)
		rig_die("no room for template %u, of %u bytes", n_templates, queue->element);
	n_templates++;
	place->element = queue->element;
	return memcpy(place->bytes, queue->buf->data + (size_t)slot * queue->element, queue->element);
}

/* Requests that ibv_post_send() does not know, made of the last one, a WRITE. */
static void keep_extensions(const struct queue *queue)
{
	struct rxe_send_wqe *wqe = keep(queue);

	wqe->wr.opcode = IB_UVERBS_WR_ATOMIC_WRITE;
	wqe->dma.length = wqe->dma.resid = 8;
	wqe = keep(queue);
	wqe->wr.opcode = IB_UVERBS_WR_FLUSH;
	wqe->wr.wr.flush.remote_addr = (uintptr_t)area;
	wqe->wr.wr.flush.length = AREA;
	wqe->wr.wr.flush.rkey = on_demand->rkey;
	wqe->wr.wr.flush.type = IB_FLUSH_PERSISTENT;
	wqe->wr.wr.flush.level = IB_FLUSH_MR;
	wqe->dma.num_sge = wqe->dma.length = wqe->dma.resid = 0;
}

static void make_templates(void)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM,
		IBV_WR_RDMA_READ, IBV_WR_ATOMIC_CMP_AND_SWP, IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_BIND_MW, IBV_WR_LOCAL_INV,
	};

	for (int i = 0; i < PAIRS; i++) {
		struct pair *pair = &pairs[i];
		bool rc = pair->qp[0]->qp_type == IBV_QPT_RC, ud = pair->qp[0]->qp_type == IBV_QPT_UD;

		for (unsigned o = 0; o < sizeof(opcodes) / sizeof(opcodes[0]); o++) {
			struct ibv_sge sge[2] = { { (uintptr_t)area, 1000, mr->lkey }, { (uintptr_t)area + 8192, 24, mr->lkey } };
			struct ibv_send_wr wr = { .wr_id = o, .sg_list = sge, .num_sge = 2, .opcode = opcodes[o],
						  .send_flags = IBV_SEND_SIGNALED }, *bad;

			if ((ud && o > 1) || (!rc && o > 3))
				continue;
			if (ud) {
				wr.wr.ud.ah = ah;
				wr.wr.ud.remote_qpn = pair->qp[1]->qp_num;
				wr.wr.ud.remote_qkey = RIG_QKEY;
				sge[0].length = 500;
			} else if (opcodes[o] == IBV_WR_BIND_MW) {
				wr.bind_mw.mw = mw;
				wr.bind_mw.rkey = mw ? ibv_inc_rkey(mw->rkey) : 0;
				wr.bind_mw.bind_info = (struct ibv_mw_bind_info){ mr, (uintptr_t)area, 4096, IBV_ACCESS_REMOTE_WRITE };
				wr.num_sge = 0;
			} else if (opcodes[o] == IBV_WR_LOCAL_INV) {
				wr.invalidate_rkey = mw ? ibv_inc_rkey(mw->rkey) : 0;
				wr.num_sge = 0;
			} else if (wr.opcode == IBV_WR_ATOMIC_CMP_AND_SWP || wr.opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
				wr.num_sge = 1;
				sge[0].length = 8;
				wr.wr.atomic.remote_addr = (uintptr_t)area + 64;
				wr.wr.atomic.rkey = mr->rkey;
			} else {
				wr.wr.rdma.remote_addr = (uintptr_t)area + 16384;
				wr.wr.rdma.rkey = mr->rkey;
			}
			receive(pair, 1);
			if (!ibv_post_send(pair->qp[0], &wr, &bad))
				keep(&pair->send[0]);
			if (rc && opcodes[o] == IBV_WR_RDMA_WRITE)
				keep_extensions(&pair->send[0]);
			drain(3);
		}
		keep(&pair->recv[1]);
		connect_pair(pair); /* a request that was refused has put it in error */
	}
	if (!n_templates)
		rig_die("not one request could be posted");
	count(&total->templates, n_templates);
}

/* ---- attacks ---- */

static struct pair *some_pair(int *side)
{
	*side = below(2);
	return &pairs[below(PAIRS)];
}

/* A field of an element becomes something else. Most mutations stay near what is well-formed: others are refused at the first look. */
static void mutate(uint8_t *bytes, uint32_t element, uint64_t *state)
{
	struct rxe_send_wqe *wqe = (struct rxe_send_wqe *)bytes;

	switch (rig_below(state, 16)) {
	case 0:
		wqe->wr.opcode = nasty(state);
		break;
	case 1:
		wqe->wr.opcode = rig_below(state, 20);
		break;
	case 2:
		wqe->dma.num_sge = nasty(state);
		break;
	case 3:
		wqe->dma.length = nasty(state);
		break;
	case 4:
		wqe->dma.resid = nasty(state);
		break;
	case 5:
		wqe->dma.cur_sge = nasty(state);
		break;
	case 6:
		wqe->dma.sge_offset = nasty(state);
		break;
	case 7:
		wqe->wr.send_flags = nasty(state);
		break;
	case 8:
		wqe->dma.sge[0].length = nasty(state);
		break;
	case 9:
		wqe->dma.sge[0].addr += (int32_t)nasty(state);
		break;
	case 10:
		wqe->dma.sge[rig_below(state, 2)].lkey = nasty(state);
		break;
	case 11:
		wqe->wr.wr.rdma.remote_addr += (int32_t)nasty(state);
		break;
	case 12:
		wqe->wr.wr.rdma.rkey ^= 1u << rig_below(state, 32);
		break;
	case 13:
		wqe->wr.wr.ud.ah_num = nasty(state);
		break;
	case 14:
		wqe->state = nasty(state);
		wqe->status = nasty(state);
		break;
	default:
		memcpy(bytes + 4 * rig_below(state, element / 4), (uint32_t[]){ nasty(state) }, 4);
	}
}

/* Writes an element and moves the index past it, as the library would. */
static void push(struct queue *queue, const uint8_t *bytes)
{
	uint32_t slot;

	if (!queue->buf)
		return;
	slot = queue->buf->producer_index & queue->mask;
	memcpy(queue->buf->data + (size_t)slot * queue->element, bytes, queue->element);
	__atomic_store_n(&queue->buf->producer_index, (slot + 1) & queue->mask, __ATOMIC_RELEASE);
}

/* The doorbell as librxe rings it: a write() to the device that posts no request of its own. */
static void doorbell(struct ibv_qp *qp)
{
	struct {
		struct ib_uverbs_cmd_hdr header;
		struct ib_uverbs_post_send post;
	} command = { .post = { .wqe_size = sizeof(struct ib_uverbs_send_wr) } };
	struct ib_uverbs_post_send_resp response;
	ssize_t ignored;

	if (!qp)
		return;
	command.header.command = IB_USER_VERBS_CMD_POST_SEND;
	command.header.in_words = sizeof(command) / 4;
	command.header.out_words = sizeof(response) / 4;
	command.post.response = (uintptr_t)&response;
	command.post.qp_handle = qp->handle;
	if (!below(64)) { /* at times with requests of its own */
		command.post.wr_count = nasty(&random_state);
		command.post.sge_count = nasty(&random_state);
		command.post.wqe_size = nasty(&random_state);
	}
	ignored = write(rig.context->cmd_fd, &command, sizeof(command));
	(void)ignored;
}

static void act_post(void)
{
	int side;
	struct pair *pair = some_pair(&side);
	struct queue *queue = below(4) ? &pair->send[side] : &pair->recv[side];

	for (unsigned count = 1 + below(8); count; count--) {
		uint8_t bytes[ELEMENT];
		struct template *template = &templates[below(n_templates)];

		if (queue->element > ELEMENT)
			return;
		memcpy(bytes, template->bytes, ELEMENT);
		for (unsigned changes = below(4); changes; changes--)
			mutate(bytes, queue->element, &random_state);
		push(queue, bytes);
	}
	if (queue == &pair->send[side])
		doorbell(pair->qp[side]);
}

static void act_doorbell(void)
{
	int side;
	struct pair *pair = some_pair(&side);

	doorbell(pair->qp[side]);
}

/* Gives completions back, one by one, all, or more than there are. */
static void act_consume(void)
{
	struct rxe_queue_buf *buf = completions.buf;

	switch (below(8)) {
	case 0:
		buf->consumer_index = nasty(&random_state);
		break;
	case 1:
		buf->consumer_index++;
		break;
	default:
		buf->consumer_index = buf->producer_index;
	}
	ibv_req_notify_cq(cq, below(2));
}

static void act_connect(void)
{
	connect_pair(&pairs[below(PAIRS)]);
}

static void act_state(void)
{
	int side;
	struct pair *pair = some_pair(&side);
	struct ibv_qp_attr attr = { .qp_state = below(8), .cur_qp_state = below(8) };

	if (pair->qp[side])
		ibv_modify_qp(pair->qp[side], &attr, IBV_QP_STATE | (below(4) ? 0 : IBV_QP_CUR_STATE));
}

static void act_resize_cq(void)
{
	struct queue found[1];

	remember_queues();
	if (!ibv_resize_cq(cq, 1 + below(8 * RIG_SLOTS)) && new_queues(found, 1))
		completions = found[0];
}

static void act_resize_srq(void)
{
	struct ibv_srq_attr attr = { .max_wr = 1 + below(4 * RIG_SLOTS), .srq_limit = below(RIG_SLOTS) };
	struct queue found[1];

	remember_queues();
	if (!ibv_modify_srq(pairs[3].srq, &attr, below(2) ? IBV_SRQ_MAX_WR : IBV_SRQ_LIMIT) && new_queues(found, 1))
		shared = pairs[3].recv[0] = pairs[3].recv[1] = found[0];
}

static void act_recreate_qp(void)
{
	int side;
	struct pair *pair = some_pair(&side);
	enum ibv_qp_type type;

	if (!pair->qp[side])
		return;
	type = pair->qp[side]->qp_type;
	if (ibv_destroy_qp(pair->qp[side]))
		return;
	pair->qp[side] = NULL;
	pair->send[side] = pair->recv[side] = (struct queue){ 0 };
	create_qp(pair, side, type);
	connect_pair(pair);
}

static void act_memory(void)
{
	struct ibv_mr *other;

	other = ibv_reg_mr(rig.pd, area, 1 + below(AREA), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	if (!other)
		return;
	/* Requests under way may name it: it goes while they run. */
	for (unsigned i = 0; i < n_templates; i++)
		((struct rxe_send_wqe *)templates[i].bytes)->wr.wr.rdma.rkey = below(4) ? mr->rkey : other->rkey;
	act_post();
	ibv_dereg_mr(other);
}

/* Mappings in ways that the library never asks for: other offsets, other lengths, a second time, gone. */
static void act_map(void)
{
	static unsigned taken;
	void *at = mmap(NULL, 4096u << below(6), PROT_READ | PROT_WRITE, MAP_SHARED, rig.context->cmd_fd, (off_t)below(64) << 12);
	struct queue *queue = &pairs[below(PAIRS)].recv[0];

	if (at != MAP_FAILED)
		munmap(at, 4096);
	if (taken < 2 && !below(16) && queue->buf && queue->buf != completions.buf && queue->buf != shared.buf) {
		taken++;
		/* Private memory in its place, so that the library still finds something there. */
		mmap(queue->buf, queue->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
}

static void act_fork(void)
{
	pid_t child = fork();

	if (!child) {
		act_doorbell();
		_exit(0);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
}

static const struct {
	void (*act)(void);
	unsigned weight;
} acts[] = {
	{ act_post, 60 },	 { act_doorbell, 30 },	   { act_consume, 20 },	     { act_connect, 8 }, { act_state, 3 },
	{ act_resize_cq, 1 },	 { act_resize_srq, 1 },	   { act_recreate_qp, 2 },   { act_memory, 4 },	 { act_map, 2 },
	{ act_fork, 1 },
};

static void act(void)
{
	unsigned weights = 0, pick;

	for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		weights += acts[i].weight;
	pick = below(weights);
	for (unsigned i = 0;; i++) {
		if (pick < acts[i].weight) {
			acts[i].act();
			count(&total->acts, 1);
			return;
		}
		pick -= acts[i].weight;
	}
}

/* The first thread has queues unmapped while the second writes to them: it forgets that write, and goes on. */
static pthread_t scribbler;
static sigjmp_buf next_scribble;

static void unmapped_under_us(int signal_number)
{
	if (pthread_equal(pthread_self(), scribbler))
		siglongjmp(next_scribble, 1);
	signal(signal_number, SIG_DFL); /* of the first thread: it comes again, and ends the attacker */
}

/* The second thread. */
static void *scribble(void *seed)
{
	static uint64_t state; /* keeps its value over the jump */

	state = *(uint64_t *)seed;
	scribbler = pthread_self();
	sigsetjmp(next_scribble, 1);
	signal(SIGSEGV, unmapped_under_us);
	while (!stop) {
		struct pair *pair = &pairs[rig_below(&state, PAIRS)];
		int side = rig_below(&state, 2);
		struct queue *choice[] = { &pair->send[side], &pair->send[side], &pair->recv[side], &completions };
		struct queue queue = *choice[rig_below(&state, 4)];
		uint8_t *element;

		if (!queue.buf || !queue.bytes)
			continue;
		switch (rig_below(&state, 12)) {
		case 0:
			queue.buf->producer_index = nasty(&state);
			break;
		case 1:
			queue.buf->consumer_index = nasty(&state);
			break;
		case 2:
			queue.buf->producer_index += rig_below(&state, 4);
			break;
		case 3:
			queue.buf->log2_elem_size = nasty(&state);
			break;
		case 4:
			queue.buf->index_mask = nasty(&state);
			break;
		case 5:
			((uint32_t *)queue.buf)[rig_below(&state, queue.bytes / 4)] = nasty(&state);
			break;
		default:
			element = queue.buf->data + (size_t)(rig_below(&state, queue.mask + 1) & queue.mask) * queue.element;
			if (element + REACH <= (uint8_t *)queue.buf + queue.bytes)
				mutate(element, queue.element, &state);
		}
		count(&total->scribbles, 1);
		if (!rig_below(&state, 8))
			usleep(rig_below(&state, 200));
	}
	return NULL;
}

static void attack(const char *device, int gid_index, uint64_t seed)
{
	uint64_t scribbler_seed;
	double end;

	random_state = seed;
	rig_open(&rig, device, gid_index);
	create_all();
	make_templates();
	scribbler_seed = rig_random(&random_state);
	pthread_create(&scribbler, NULL, scribble, &scribbler_seed);
	for (end = rig_now() + ATTACK_SECONDS; rig_now() < end;)
		act();
	switch (below(4)) { /* ways to go */
	case 0:
		kill(getpid(), SIGKILL);
		break;
	case 1: /* objects in an order that is refused here and there, the scribbler still at work */
		ibv_dereg_mr(mr);
		ibv_destroy_cq(cq);
		for (int i = 0; i < PAIRS; i++)
			for (int side = 0; side < 2; side++)
				if (pairs[i].qp[side])
					ibv_destroy_qp(pairs[i].qp[side]);
		_exit(0);
	case 2: /* the device first */
		stop = true;
		pthread_join(scribbler, NULL);
		close(rig.context->cmd_fd);
		_exit(0);
	default:
		_exit(0);
	}
}

/* ---- the parent ---- */

struct attacker {
	pid_t pid;
	uint64_t seed;
	double since;
	bool killed;
};

/* How many attackers ended in which way. */
struct ends {
	unsigned themselves; /* a SIGKILL of their own included */
	unsigned crashed;
	unsigned no_beginning;
	unsigned killed; /* they had not ended after PATIENCE */
};

/* Tells how an attacker ended, and counts. False when it could not be ended. */
static bool reap(struct attacker *attacker, struct ends *ends)
{
	int status;
	pid_t pid = waitpid(attacker->pid, &status, WNOHANG);
	double age = rig_now() - attacker->since;

	if (!pid) {
		if (age > PATIENCE && !attacker->killed) {
			attacker->killed = true;
			ends->killed++;
			printf("seed %lu: still there after %d s, killing it\n", attacker->seed, PATIENCE);
			kill(attacker->pid, SIGKILL);
		}
		if (age > 2 * PATIENCE) {
			printf("seed %lu: cannot be killed\n", attacker->seed);
			return false;
		}
		return true;
	}
	if (WIFEXITED(status)) {
		if (WEXITSTATUS(status)) {
			ends->no_beginning++;
			printf("seed %lu: ended with status %d\n", attacker->seed, WEXITSTATUS(status));
		} else {
			ends->themselves++;
		}
	} else if (WTERMSIG(status) == SIGKILL) {
		ends->themselves += !attacker->killed;
	} else {
		ends->crashed++;
		printf("seed %lu: ended by signal %d\n", attacker->seed, WTERMSIG(status));
	}
	attacker->pid = 0;
	return true;
}

int main(int argc, char **argv)
{
	struct attacker attackers[16] = { 0 };
	unsigned at_once = argc > 5 ? atoi(argv[5]) : 2, started = 0, running;
	struct ends ends = { 0 };
	uint64_t seed;
	double end;

	if (argc < 5 || at_once < 1 || at_once > 16) {
		fprintf(stderr, "usage: hostile DEVICE GID-INDEX SECONDS SEED [AT-ONCE]\n");
		return 2;
	}
	seed = strtoull(argv[4], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	total = mmap(NULL, sizeof(*total), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (total == MAP_FAILED)
		rig_die("no memory");
	if (!atoi(argv[3])) {
		attack(argv[1], atoi(argv[2]), seed);
		return 0;
	}
	printf("first seed %lu, %u at once\n", seed, at_once);
	end = rig_now() + atof(argv[3]);
	do {
		running = 0;
		for (unsigned i = 0; i < at_once; i++) {
			struct attacker *attacker = &attackers[i];

			if (!attacker->pid && rig_now() < end) {
				attacker->seed = seed + started++;
				attacker->since = rig_now();
				attacker->killed = false;
				attacker->pid = fork();
				if (!attacker->pid)
					attack(argv[1], atoi(argv[2]), attacker->seed);
			}
			if (attacker->pid > 0 && !reap(attacker, &ends))
				return 1;
			running += attacker->pid > 0;
		}
		usleep(10000);
	} while (running || rig_now() < end);
	printf("%u attackers: %u ended by themselves, %u crashed, %u could not begin, %u had to be killed\n", started, ends.themselves,
	       ends.crashed, ends.no_beginning, ends.killed);
	printf("%lu templates from %lu completions of honest work, %lu acts, %lu scribbles\n", total->templates, total->completions,
	       total->acts, total->scribbles);
	/*
	 * One that cannot even begin proves nothing; a few may lack memory when many run. One that crashes early proves little, and does not get as far as the
	 * ways to go. Those that did get there have done a good deal before.
	 */
	return ends.killed || ends.no_beginning > started / 4 || ends.crashed > started / 4 || total->completions < started ||
	       total->acts < 5 * started || total->scribbles < 5 * started;
}
