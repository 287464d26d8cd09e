// SPDX-License-Identifier: GPL-2.0-only
/*
 * A QP that may lose messages. They are sent in windows; after each the sender says over the control QP how many it has sent in all, and the
 * receiver answers when they have come, or when what has not come has had its time. Each message is known by its index, in its immediate data
 * or its first bytes; everything else about it follows from that and the seed.
 */
#include "soak.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WINDOW = 8, /* messages under way */
	SLOTS = 2 * WINDOW, /* receives; and places for writes, so that a window does not touch those of the one before */
	LONGEST_UC = 32 * 1024,
	GRH = 40,
	HEADER = 8, /* index and its complement, in a message without immediate data */
	LATE_MS = 500, /* what has not come so long after the sender was done is lost */
};

struct lossy {
	struct ibv_qp *qp;
	struct ibv_ah *ah; /* UD */
	uint32_t longest;
	uint64_t out_seed, in_seed;
	struct memory local, recv, target; /* SLOTS places each */
	struct account sends, receives;
	uint32_t sent; /* messages of ours, all windows */
	uint32_t in_next; /* least index that may come */
	uint32_t in_marked; /* the peer has sent all below */
	double deadline; /* for those; 0 when there is nothing to wait for */
	uint64_t in_count;
	bool out_ended, in_ended, failed, marked;
};

struct message {
	enum kind kind;
	uint32_t index, length;
	uint64_t stream;
	int pieces;
};

static struct lossy *all[MAX_QPS + 1];

static struct lossy_totals *totals_of(const struct lossy *l)
{
	return l->ah ? &totals.ud : &totals.uc;
}

static uint32_t place(const struct lossy *l, uint32_t number)
{
	return number % SLOTS * (l->longest + GRH);
}

static struct message message_at(const struct lossy *l, uint64_t seed, uint32_t index)
{
	uint64_t random = mix(seed + index);
	struct message message = { .index = index, .stream = draw(&random) };

	message.kind = below(&random, 2) ? SEND : l->ah || below(&random, 2) ? SEND_IMM : WRITE_IMM;
	message.length = below(&random, 3) ? below(&random, l->longest + 1) : below(&random, 128);
	if (message.length > l->longest)
		message.length = l->longest;
	if (message.kind == SEND && message.length < HEADER)
		message.length = HEADER;
	message.pieces = message.length ? 1 + (int)below(&random, message.length < MAX_PIECES ? message.length : MAX_PIECES) : 0;
	return message;
}

void lossy_open(int index, enum ibv_qp_type type)
{
	struct lossy *l = calloc(1, sizeof(*l));

	all[index] = l;
	l->longest = type == IBV_QPT_UD ? soak.mtu : soak.terms.largest < LONGEST_UC ? soak.terms.largest : LONGEST_UC;
	l->out_seed = mix(soak.terms.seed + 2 * (uint64_t)index + soak.is_client);
	l->in_seed = mix(soak.terms.seed + 2 * (uint64_t)index + !soak.is_client);
	l->qp = new_qp(type, SLOTS);
	l->local = new_memory(place(l, SLOTS - 1) + l->longest + GRH, IBV_ACCESS_LOCAL_WRITE);
	l->recv = new_memory(l->local.size, IBV_ACCESS_LOCAL_WRITE);
	l->target = new_memory(l->local.size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	soak.near.qpn[index] = l->qp->qp_num;
	soak.near.target[index] = (uintptr_t)l->target.bytes;
	soak.near.rkey[index] = l->target.mr->rkey;
}

/* ---- receiving ---- */

static void post_receive(int index, struct lossy *l)
{
	uint8_t *bytes = l->recv.bytes + place(l, l->receives.posted);
	struct ibv_sge sge = { (uintptr_t)bytes, l->longest + GRH, l->recv.mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = token_of(index, true, l->receives.posted), .sg_list = &sge, .num_sge = 1 }, *bad;

	memset(bytes, POISON, sge.length);
	if (ibv_post_recv(l->qp, &wr, &bad))
		die("QP %d: cannot post a receive: %s", index, strerror(errno));
	l->receives.posted++;
}

void lossy_begin(int index)
{
	struct lossy *l = all[index];

	if (l->qp->qp_type == IBV_QPT_UD)
		l->ah = new_ah();
	connect_qp(l->qp, soak.far.qpn[index]);
	for (int i = 0; i < SLOTS; i++)
		post_receive(index, l);
}

/* All that the peer has sent has come, or is lost. */
static void give_credit(int index, struct lossy *l)
{
	l->deadline = 0;
	control_send(CREDIT, index, l->in_marked);
}

static uint32_t index_of(int index, const struct ibv_wc *wc, const uint8_t *bytes, uint32_t length)
{
	uint32_t header[2];

	if (wc->wc_flags & IBV_WC_WITH_IMM)
		return ntohl(wc->imm_data);
	memcpy(header, bytes, HEADER);
	if (length < HEADER || header[0] != ~header[1])
		die("QP %d: a message of %u bytes has no index", index, length);
	return header[0];
}

static void received(int index, struct lossy *l, const struct ibv_wc *wc, uint32_t number)
{
	uint32_t grh = l->ah ? GRH : 0, length = wc->byte_len - grh, header;
	uint8_t *slot = l->recv.bytes + place(l, number);
	const uint8_t *bytes;
	struct message message;
	long wrong;

	if (number != l->receives.completed)
		die("QP %d: completion of receive %u, not of %u", index, number, l->receives.completed);
	l->receives.completed++;
	if (wc->status != IBV_WC_SUCCESS) {
		l->failed = true;
		completion_error(wc, "receive");
		return;
	}
	message = message_at(l, l->in_seed, index_of(index, wc, slot + grh, length));
	if (message.index < l->in_next || message.index >= l->in_marked + WINDOW)
		die("QP %d: message %u came, %u is next", index, message.index, l->in_next);
	if (length != message.length || (message.kind == SEND) == !!(wc->wc_flags & IBV_WC_WITH_IMM) ||
	    wc->opcode != (message.kind == WRITE_IMM ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV))
		die("QP %d: message %u is a %s of %u bytes, and came with opcode %#x and %u bytes", index, message.index, kind_names[message.kind],
		    message.length, wc->opcode, length);
	bytes = message.kind == WRITE_IMM ? l->target.bytes + place(l, message.index) : slot + grh;
	header = message.kind == SEND ? HEADER : 0;
	wrong = pattern_check(bytes + header, length - header, message.stream, header);
	if (wrong >= 0)
		die("QP %d: message %u, a %s of %u bytes: byte %ld is wrong", index, message.index, kind_names[message.kind], length, wrong + header);
	/* A UC receive may have been begun by a message that lost its end. */
	if (l->ah && constant_check(slot + grh + length, l->longest - length, POISON) >= 0)
		die("QP %d: message %u of %u bytes wrote more than it was long", index, message.index, length);
	l->in_next = message.index + 1;
	l->in_count++;
	totals.bytes_in += length;
	totals_of(l)->received++;
	if (totals.failing)
		return;
	post_receive(index, l);
	if (l->deadline && l->in_next == l->in_marked)
		give_credit(index, l);
}

void lossy_tick(int index)
{
	struct lossy *l = all[index];

	if (l->deadline && now() > l->deadline)
		give_credit(index, l);
}

/* ---- sending ---- */

static void send_message(int index, struct lossy *l)
{
	static const enum ibv_wr_opcode opcodes[KINDS] = { [SEND] = IBV_WR_SEND, [SEND_IMM] = IBV_WR_SEND_WITH_IMM, [WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM };
	struct message message = message_at(l, l->out_seed, l->sent);
	uint8_t *bytes = l->local.bytes + place(l, l->sent);
	uint32_t done = 0, header[2] = { message.index, ~message.index };
	struct ibv_sge sge[MAX_PIECES];
	struct ibv_send_wr wr = {
		.wr_id = token_of(index, false, l->sends.posted),
		.sg_list = sge,
		.num_sge = message.pieces,
		.opcode = opcodes[message.kind],
		.imm_data = htonl(message.index),
		.send_flags = IBV_SEND_SIGNALED | IBV_SEND_SOLICITED | (message.length <= INLINE && message.stream & 1 ? IBV_SEND_INLINE : 0),
	}, *bad;

	pattern_fill(bytes, message.length, message.stream, 0);
	if (message.kind == SEND)
		memcpy(bytes, header, HEADER);
	for (int i = 0; i < message.pieces; i++) {
		uint32_t length = i == message.pieces - 1 ? message.length - done : message.length / (uint32_t)message.pieces;

		sge[i] = (struct ibv_sge){ (uintptr_t)bytes + done, length, l->local.mr->lkey };
		done += length;
	}
	if (l->ah) {
		wr.wr.ud.ah = l->ah;
		wr.wr.ud.remote_qpn = soak.far.qpn[index];
		wr.wr.ud.remote_qkey = QKEY;
	} else {
		wr.wr.rdma.remote_addr = soak.far.target[index] + place(l, message.index);
		wr.wr.rdma.rkey = soak.far.rkey[index];
	}
	if (ibv_post_send(l->qp, &wr, &bad))
		die("QP %d: cannot post a send: %s", index, strerror(errno));
	l->sends.posted++;
	l->sent++;
	totals.bytes_out += message.length;
	totals_of(l)->sent++;
}

static void next_window(int index, struct lossy *l)
{
	if (totals.failing || l->failed)
		return;
	if (time_is_over()) {
		l->out_ended = true;
		control_send(STOP, index, l->sent);
		return;
	}
	l->marked = false;
	for (int i = 0; i < WINDOW; i++)
		send_message(index, l);
}

void lossy_start(int index)
{
	next_window(index, all[index]);
}

static void sent(int index, struct lossy *l, const struct ibv_wc *wc, uint32_t number)
{
	if (number != l->sends.completed)
		die("QP %d: completion of request %u, not of %u", index, number, l->sends.completed);
	l->sends.completed++;
	if (wc->status != IBV_WC_SUCCESS) {
		l->failed = true;
		completion_error(wc, "send");
		return;
	}
	if (l->sends.completed < l->sends.posted || totals.failing)
		return;
	l->marked = true;
	control_send(SENT, index, l->sent);
}

void lossy_completion(const struct ibv_wc *wc, struct token token)
{
	struct lossy *l = all[token.qp];

	if (wc->qp_num != l->qp->qp_num)
		die("QP %d: completion says QP number %u, not %u", token.qp, wc->qp_num, l->qp->qp_num);
	if (token.receive)
		received(token.qp, l, wc, token.number);
	else
		sent(token.qp, l, wc, token.number);
}

void lossy_message(enum message_type type, int index, uint64_t number)
{
	struct lossy *l = all[index];

	switch (type) {
	case SENT:
		if (number != l->in_marked + WINDOW)
			die("QP %d: %lu sent, after %u", index, number, l->in_marked);
		l->in_marked = (uint32_t)number;
		l->deadline = now() + LATE_MS / 1e3;
		if (l->in_next == l->in_marked)
			give_credit(index, l);
		return;
	case CREDIT:
		if (!l->marked || number != l->sent)
			die("QP %d: credit for %lu of %u messages", index, number, l->sent);
		next_window(index, l);
		return;
	case STOP:
		if (number != l->in_marked)
			die("QP %d: %lu sent in all, heard of %u", index, number, l->in_marked);
		l->in_ended = true;
		totals_of(l)->lost += number - l->in_count;
		return;
	default:
		die("QP %d: message %d", index, type);
	}
}

bool lossy_is_done(int index)
{
	return all[index]->out_ended && all[index]->in_ended;
}

bool lossy_is_quiet(int index)
{
	return all[index]->sends.completed == all[index]->sends.posted;
}

bool lossy_is_idle(int index)
{
	struct lossy *l = all[index];

	return l->sends.completed == l->sends.posted && l->receives.completed == l->receives.posted;
}

void lossy_fail(int index)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	if (ibv_modify_qp(all[index]->qp, &attr, IBV_QP_STATE))
		die("QP %d: cannot make it fail: %s", index, strerror(errno));
}

void lossy_report(int index)
{
	struct lossy *l = all[index];

	printf("QP %d (number %u, %s): %u sent, completion %u of %u; %lu of %u received\n", index, l->qp->qp_num, l->ah ? "UD" : "UC", l->sent,
	       l->sends.completed, l->sends.posted, l->in_count, l->in_marked);
}

void lossy_close(int index)
{
	struct lossy *l = all[index];

	if (l->ah && ibv_destroy_ah(l->ah))
		die("cannot destroy an AH: %s", strerror(errno));
	destroy_qp(l->qp);
	free_memory(&l->local);
	free_memory(&l->recv);
	free_memory(&l->target);
	free(l);
}
