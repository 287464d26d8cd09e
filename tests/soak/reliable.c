// SPDX-License-Identifier: GPL-2.0-only
/*
 * A reliable QP: batches of ours go out, batches of the other end come in, each checked before the next one is sent.
 *
 *   sender                                            receiver
 *   draw the batch, fill local memory, post           (receives for this very batch are posted)
 *   completions, in order: apply writes to the        completions, in order: check the bytes of sends
 *     model of the target, compare reads with it      after the last: apply writes to a model, compare the target
 *   "verified" from the control QP                 <- draw the next batch, post its receives, say "verified"
 */
#include "soak.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct direction {
	struct plan plan;
	struct batch batch;
	struct memory model; /* what the target of this direction must hold; not registered */
	uint64_t batches; /* that are complete */
	bool ended;
	struct account account; /* of the queue that belongs to it: sends of ours, receives of theirs */
	uint32_t first; /* number of the batch's first request in that queue */
	int settled; /* operations of the batch that are over */
};

struct reliable {
	struct ibv_qp *qp;
	struct memory local, recv, target;
	struct direction out, in;
	bool verified, failed;
	uint32_t recv_checked; /* bytes of recv, from the start */
};

static struct reliable *all[MAX_QPS + 1];

static uint32_t largest(int qp)
{
	/* Every fourth QP takes the largest messages; sixteen times as many of the others would not fit into a guest. */
	uint32_t most = soak.terms.largest;

	return qp % 4 == 1 || most < 8 ? most : most / 8;
}

static uint8_t *target_bytes(const struct memory *memory)
{
	return memory->bytes + WORDS * 8;
}

static struct memory model_of(const struct plan *plan, uint32_t size)
{
	struct memory model = new_memory(size, -1);

	memcpy(model.bytes, plan->words, WORDS * 8);
	pattern_fill(target_bytes(&model), size - WORDS * 8, plan->initial, 0);
	return model;
}

void reliable_open(int index)
{
	struct reliable *r = calloc(1, sizeof(*r));
	uint32_t most = largest(index), size = region_bytes(most);

	all[index] = r;
	plan_begin(&r->out.plan, soak.terms.seed, index, soak.is_client, most, soak.terms.smallest, soak.mtu);
	plan_begin(&r->in.plan, soak.terms.seed, index, !soak.is_client, most, soak.terms.smallest, soak.mtu);
	r->qp = new_qp(IBV_QPT_RC, MAX_OPS);
	r->local = new_memory(size, IBV_ACCESS_LOCAL_WRITE);
	r->recv = new_memory(size, IBV_ACCESS_LOCAL_WRITE);
	r->target = new_memory(size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC);
	r->out.model = model_of(&r->out.plan, size);
	r->in.model = model_of(&r->in.plan, size);
	memcpy(r->target.bytes, r->in.model.bytes, size);
	soak.near.qpn[index] = r->qp->qp_num;
	soak.near.target[index] = (uintptr_t)r->target.bytes;
	soak.near.rkey[index] = r->target.mr->rkey;
}

/* ---- receiving ---- */

/* Where the memory of the batch's receives ends. */
static uint32_t receives_end(const struct batch *batch)
{
	uint32_t end = 0;

	for (int i = 0; i < batch->ops; i++)
		for (int j = 0; j < batch->op[i].recv_pieces; j++)
			end = batch->op[i].recv[j].at + batch->op[i].recv[j].length;
	return end;
}

static void post_receives(int index, struct reliable *r)
{
	struct direction *in = &r->in;

	plan_next(&in->plan, &in->batch);
	in->first = in->account.posted;
	in->settled = 0;
	r->recv_checked = 0;
	memset(r->recv.bytes, POISON, receives_end(&in->batch) + MAX_GAP);
	for (int i = 0; i < in->batch.ops; i++) {
		struct op *op = &in->batch.op[i];
		struct ibv_sge sge[MAX_PIECES];
		struct ibv_recv_wr wr = { .wr_id = token_of(index, true, in->account.posted), .sg_list = sge, .num_sge = op->recv_pieces }, *bad;

		if (!takes_receive(op->kind))
			continue;
		for (int j = 0; j < op->recv_pieces; j++)
			sge[j] = (struct ibv_sge){ (uintptr_t)r->recv.bytes + op->recv[j].at, op->recv[j].length, r->recv.mr->lkey };
		if (ibv_post_recv(r->qp, &wr, &bad))
			die("QP %d: cannot post a receive: %s", index, strerror(errno));
		in->account.posted++;
	}
}

void reliable_begin(int index)
{
	struct reliable *r = all[index];

	connect_qp(r->qp, soak.far.qpn[index]);
	post_receives(index, r);
}

/* Compares the memory of a receive with what was sent, and what nobody should have written with what was there. */
static void check_receive(int index, struct reliable *r, const struct op *op)
{
	uint32_t left = op->kind == WRITE_IMM ? 0 : op->length, done = 0;

	for (int i = 0; i < op->recv_pieces; i++) {
		const struct piece *piece = &op->recv[i];
		uint32_t used = left < piece->length ? left : piece->length;
		long wrong = constant_check(r->recv.bytes + r->recv_checked, piece->at - r->recv_checked, POISON);

		if (wrong >= 0)
			die("QP %d: %s of %u bytes changed memory before its receive", index, kind_names[op->kind], op->length);
		wrong = pattern_check(r->recv.bytes + piece->at, used, op->stream, done);
		if (wrong >= 0)
			die("QP %d: batch %lu: %s of %u bytes: byte %ld is wrong", index, r->in.batches, kind_names[op->kind], op->length, done + wrong);
		wrong = constant_check(r->recv.bytes + piece->at + used, piece->length - used, POISON);
		if (wrong >= 0)
			die("QP %d: %s of %u bytes wrote more than it was long", index, kind_names[op->kind], op->length);
		r->recv_checked = piece->at + piece->length;
		done += used;
		left -= used;
	}
}

static void check_range(int index, const struct reliable *r, uint32_t from, uint32_t to, const char *what)
{
	const uint8_t *is = r->target.bytes, *expected = r->in.model.bytes;

	if (!memcmp(is + from, expected + from, to - from))
		return;
	for (uint32_t at = from; at < to; at++)
		if (is[at] != expected[at])
			die("QP %d: batch %lu: target byte %u is %#x and should be %#x (%s)", index, r->in.batches, at, is[at], expected[at], what);
}

/* The batch is complete: the target must be what its writes and atomics make of it. */
static void check_target(int index, struct reliable *r)
{
	struct direction *in = &r->in;
	uint32_t size = (uint32_t)r->target.size;

	memcpy(in->model.bytes, in->plan.words, WORDS * 8);
	for (int i = 0; i < in->batch.ops; i++) {
		const struct op *op = &in->batch.op[i];

		if (op->kind == WRITE || op->kind == WRITE_IMM)
			pattern_fill(target_bytes(&in->model) + op->remote, op->length, op->stream, 0);
	}
	check_range(index, r, 0, WORDS * 8, "atomics");
	for (int i = 0; i < in->batch.ops; i++) {
		const struct op *op = &in->batch.op[i];
		uint32_t from = WORDS * 8 + op->remote, to = from + op->length;

		if (op->kind == WRITE || op->kind == WRITE_IMM)
			check_range(index, r, from < 64 ? 0 : from - 64, to + 64 > size ? size : to + 64, kind_names[op->kind]);
	}
	/* Far from where anything was written, from time to time. */
	if (in->batches % 16 == 0)
		check_range(index, r, 0, size, "a stray write");
	for (int i = 0; i < in->batch.ops; i++)
		if (in->batch.op[i].kind != READ)
			totals.bytes_in += in->batch.op[i].length;
}

static void received(int index, struct reliable *r, const struct ibv_wc *wc, uint32_t number)
{
	struct direction *in = &r->in;
	const struct op *op;

	if (number != in->account.completed)
		die("QP %d: completion of receive %u, not of %u", index, number, in->account.completed);
	in->account.completed++;
	if (wc->status != IBV_WC_SUCCESS) {
		r->failed = true;
		completion_error(wc, "receive");
		return;
	}
	while (!takes_receive(in->batch.op[in->settled].kind))
		in->settled++;
	op = &in->batch.op[in->settled++];
	if (wc->opcode != (op->kind == WRITE_IMM ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV))
		die("QP %d: receive completed with opcode %#x, expected a %s", index, wc->opcode, kind_names[op->kind]);
	if (wc->byte_len != op->length)
		die("QP %d: %s of %u bytes received, %u were sent", index, kind_names[op->kind], wc->byte_len, op->length);
	if (op->kind == SEND ? (wc->wc_flags & IBV_WC_WITH_IMM) != 0 : !(wc->wc_flags & IBV_WC_WITH_IMM) || ntohl(wc->imm_data) != op->imm)
		die("QP %d: %s with wrong immediate data", index, kind_names[op->kind]);
	check_receive(index, r, op);
	if (in->settled < in->batch.ops)
		return;
	if (constant_check(r->recv.bytes + r->recv_checked, MAX_GAP, POISON) >= 0)
		die("QP %d: memory after the receives of batch %lu was changed", index, in->batches);
	check_target(index, r);
	in->batches++;
	if (totals.failing)
		return;
	post_receives(index, r);
	control_send(VERIFIED, index, in->batches);
}

/* ---- sending ---- */

static void fill_local(struct reliable *r, const struct op *op)
{
	uint32_t done = 0;

	for (int i = 0; i < op->pieces; i++) {
		/* Where a read or an atomic answers, and around it, there is something else before. */
		if (op->kind == READ || is_atomic(op->kind))
			memset(r->local.bytes + op->local[i].at - 1, POISON, op->local[i].length + 2);
		else
			pattern_fill(r->local.bytes + op->local[i].at, op->local[i].length, op->stream, done);
		done += op->local[i].length;
	}
}

static struct ibv_send_wr request(int index, struct reliable *r, const struct op *op, struct ibv_sge *sge, uint32_t number)
{
	static const enum ibv_wr_opcode opcodes[KINDS] = {
		IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM,
		IBV_WR_RDMA_READ, IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_ATOMIC_CMP_AND_SWP,
	};
	struct ibv_send_wr wr = {
		.wr_id = token_of(index, false, number),
		.sg_list = sge,
		.num_sge = op->pieces,
		.opcode = opcodes[op->kind],
		.imm_data = htonl(op->imm),
		.send_flags = (op->signaled ? IBV_SEND_SIGNALED : 0) | (op->fence ? IBV_SEND_FENCE : 0) | (op->inlined ? IBV_SEND_INLINE : 0) |
			      (op->solicited && takes_receive(op->kind) ? IBV_SEND_SOLICITED : 0),
	};

	for (int i = 0; i < op->pieces; i++)
		sge[i] = (struct ibv_sge){ (uintptr_t)r->local.bytes + op->local[i].at, op->local[i].length, r->local.mr->lkey };
	if (is_atomic(op->kind)) {
		wr.wr.atomic.remote_addr = soak.far.target[index] + op->remote * 8;
		wr.wr.atomic.rkey = soak.far.rkey[index];
		wr.wr.atomic.compare_add = op->compare_add;
		wr.wr.atomic.swap = op->swap;
	} else {
		wr.wr.rdma.remote_addr = soak.far.target[index] + WORDS * 8 + op->remote;
		wr.wr.rdma.rkey = soak.far.rkey[index];
	}
	return wr;
}

static void send_batch(int index, struct reliable *r)
{
	struct direction *out = &r->out;
	struct ibv_sge sge[MAX_OPS][MAX_PIECES];
	struct ibv_send_wr wr[MAX_OPS], *bad;

	plan_next(&out->plan, &out->batch);
	out->first = out->account.posted;
	out->settled = 0;
	r->verified = false;
	for (int i = 0; i < out->batch.ops; i++) {
		fill_local(r, &out->batch.op[i]);
		wr[i] = request(index, r, &out->batch.op[i], sge[i], out->account.posted++);
		/* Chains of any length. */
		wr[i].next = i == out->batch.ops - 1 || out->batch.op[i].stream % 3 == 0 ? NULL : &wr[i + 1];
	}
	for (int i = 0; i < out->batch.ops; i++) {
		if (i && wr[i - 1].next)
			continue;
		if (ibv_post_send(r->qp, &wr[i], &bad))
			die("QP %d: cannot post a send: %s", index, strerror(errno));
	}
	/* What is inline was copied: the memory is free again. */
	for (int i = 0; i < out->batch.ops; i++) {
		const struct op *op = &out->batch.op[i];

		for (int j = 0; op->inlined && j < op->pieces; j++)
			memset(r->local.bytes + op->local[j].at, ~POISON, op->local[j].length);
	}
}

static void next_batch(int index, struct reliable *r)
{
	if (totals.failing || r->failed)
		return;
	if (time_is_over()) {
		r->out.ended = true;
		control_send(STOP, index, r->out.batches);
		return;
	}
	send_batch(index, r);
}

void reliable_start(int index)
{
	next_batch(index, all[index]);
}

static void check_answer(int index, const struct reliable *r, const struct op *op)
{
	const uint8_t *answer = r->local.bytes + op->local[0].at;
	uint32_t done = 0;
	uint64_t old;

	for (int i = 0; i < op->pieces; i++) {
		const struct piece *piece = &op->local[i];
		const uint8_t *is = r->local.bytes + piece->at;

		if (is[-1] != POISON || is[piece->length] != POISON)
			die("QP %d: %s of %u bytes changed memory around its answer", index, kind_names[op->kind], op->length);
		if (op->kind == READ && memcmp(is, target_bytes(&r->out.model) + op->remote + done, piece->length))
			die("QP %d: batch %lu: READ of %u bytes from %u returned wrong ones", index, r->out.batches, op->length, op->remote);
		done += piece->length;
	}
	if (op->kind == READ)
		return;
	memcpy(&old, answer, 8);
	if (old != op->old)
		die("QP %d: batch %lu, operation %d of %d: %s%s%s returned %#lx, and %#lx was there", index, r->out.batches, r->out.settled + 1,
		    r->out.batch.ops, op->signaled ? "" : "silent ", op->fence ? "fenced " : "", kind_names[op->kind], old, op->old);
}

/* The operation is over: what it did is part of the model from now on. */
static void settle(int index, struct reliable *r, const struct op *op)
{
	if (op->kind == READ || is_atomic(op->kind))
		check_answer(index, r, op);
	else if (op->kind == WRITE || op->kind == WRITE_IMM)
		pattern_fill(target_bytes(&r->out.model) + op->remote, op->length, op->stream, 0);
	totals.messages[op->kind]++;
	totals.bytes_out += op->length;
}

static enum ibv_wc_opcode completion_opcode(enum kind kind)
{
	static const enum ibv_wc_opcode opcodes[KINDS] = {
		IBV_WC_SEND, IBV_WC_SEND, IBV_WC_RDMA_WRITE, IBV_WC_RDMA_WRITE, IBV_WC_RDMA_READ, IBV_WC_FETCH_ADD, IBV_WC_COMP_SWAP,
	};

	return opcodes[kind];
}

static void sent(int index, struct reliable *r, const struct ibv_wc *wc, uint32_t number)
{
	struct direction *out = &r->out;
	int at = (int)(number - out->first);
	const struct op *op = &out->batch.op[at];

	if (number < out->account.completed || number >= out->account.posted || at < 0)
		die("QP %d: completion of request %u, between %u and %u were under way", index, number, out->account.completed, out->account.posted);
	if (wc->status != IBV_WC_SUCCESS) {
		/* Of those before it nobody knows; silent ones may have ended well. */
		out->account.completed = number + 1;
		r->failed = true;
		completion_error(wc, kind_names[op->kind]);
		return;
	}
	if (!op->signaled)
		die("QP %d: completion of a silent %s", index, kind_names[op->kind]);
	if (wc->opcode != completion_opcode(op->kind))
		die("QP %d: %s completed with opcode %#x", index, kind_names[op->kind], wc->opcode);
	for (; out->settled <= at; out->settled++) {
		if (out->settled < at && out->batch.op[out->settled].signaled)
			die("QP %d: the completion of request %u never came", index, out->first + (uint32_t)out->settled);
		settle(index, r, &out->batch.op[out->settled]);
	}
	out->account.completed = number + 1;
	if (out->settled < out->batch.ops)
		return;
	out->batches++;
	if (r->verified)
		next_batch(index, r);
}

void reliable_completion(const struct ibv_wc *wc, struct token token)
{
	struct reliable *r = all[token.qp];

	if (wc->qp_num != r->qp->qp_num)
		die("QP %d: completion says QP number %u, not %u", token.qp, wc->qp_num, r->qp->qp_num);
	if (token.receive)
		received(token.qp, r, wc, token.number);
	else
		sent(token.qp, r, wc, token.number);
}

void reliable_message(enum message_type type, int index, uint64_t number)
{
	struct reliable *r = all[index];
	bool settled = r->out.settled == r->out.batch.ops;

	if (type == STOP) {
		if (r->in.batches != number)
			die("QP %d: %lu batches were sent, %lu have come", index, number, r->in.batches);
		r->in.ended = true;
		return;
	}
	if (type != VERIFIED || r->verified || number != r->out.batches + !settled)
		die("QP %d: message %d (%lu) after %lu batches", index, type, number, r->out.batches);
	r->verified = true;
	if (settled)
		next_batch(index, r);
}

bool reliable_is_done(int index)
{
	return all[index]->out.ended && all[index]->in.ended;
}

/* Nothing of ours is under way; receives may wait. */
bool reliable_is_quiet(int index)
{
	return all[index]->out.account.completed == all[index]->out.account.posted;
}

bool reliable_is_idle(int index)
{
	struct reliable *r = all[index];

	return r->out.account.completed == r->out.account.posted && r->in.account.completed == r->in.account.posted;
}

void reliable_fail(int index)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	if (ibv_modify_qp(all[index]->qp, &attr, IBV_QP_STATE))
		die("QP %d: cannot make it fail: %s", index, strerror(errno));
}

void reliable_report(int index)
{
	struct reliable *r = all[index];

	printf("QP %d (number %u): %lu batches out, request %u of %u to %u is next to complete, %s; %lu batches in, receive %u of %u\n", index,
	       r->qp->qp_num, r->out.batches, r->out.account.completed, r->out.first, r->out.account.posted,
	       r->verified ? "verified" : "not verified", r->in.batches, r->in.account.completed, r->in.account.posted);
}

void reliable_close(int index)
{
	struct reliable *r = all[index];

	if (!soak.expects_errors)
		check_range(index, r, 0, (uint32_t)r->target.size, "at the end");
	destroy_qp(r->qp);
	free_memory(&r->local);
	free_memory(&r->recv);
	free_memory(&r->target);
	free_memory(&r->out.model);
	free_memory(&r->in.model);
	free(r);
}
