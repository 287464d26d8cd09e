// SPDX-License-Identifier: GPL-2.0-only
/* Requests under way, and completions, which say in their wr_id to which requests they belong. */
#include "nccl.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = { "no request", "a send", "a receive", "a flush" };

struct request *request_get(struct connection *connection, enum request_kind kind, int count)
{
	for (int i = 0; i < REQUESTS; i++) {
		struct request *request = &connection->requests[i];

		if (request->kind == UNUSED) {
			*request = (struct request){ .kind = kind, .count = count };
			return request;
		}
	}
	die("all of %d requests are under way", REQUESTS);
}

uint64_t request_number(const struct connection *connection, const struct request *request)
{
	return (uint64_t)(request - connection->requests);
}

/* Sender and receiver go round in the same order, so that they agree on the QP of a message. */
struct ibv_qp *next_qp(struct connection *connection)
{
	struct ibv_qp *qp = connection->qp[connection->turn];

	connection->turn = (connection->turn + 1) % (int)nccl.terms.qps;
	return qp;
}

static int qp_index(const struct connection *connection, uint32_t number)
{
	for (int i = 0; i < (int)nccl.terms.qps; i++)
		if (connection->qp[i]->qp_num == number)
			return i;
	die("a completion of QP %#x, which is not of this connection", number);
}

static void has_received(const struct connection *connection, struct request *request, const struct ibv_wc *wc)
{
	const struct message *message = request->group->message;
	int qp = qp_index(connection, wc->qp_num);

	if (request->kind != RECEIVE || !(wc->wc_flags & IBV_WC_WITH_IMM))
		die("immediate data for %s, flags %#x", names[request->kind], wc->wc_flags);
	if (wc->byte_len != request->length[qp])
		die("tag %#x: %u bytes with the immediate data on QP %d, not %u", message->tag, wc->byte_len, qp, request->length[qp]);
	if (request->count > 1) {
		if (wc->imm_data)
			die("tag %#x: immediate data %u of a group", message->tag, wc->imm_data);
	} else {
		if (wc->imm_data != message->size)
			die("tag %#x: immediate data says %u bytes, not %u", message->tag, wc->imm_data, message->size);
		request->sizes[0] = (int)wc->imm_data;
	}
}

static void take(struct connection *connection, const struct ibv_wc *wc)
{
	struct request *first = &connection->requests[wc->wr_id & 0xff];
	enum ibv_wc_opcode expected = first->kind == FLUSH ? IBV_WC_RDMA_READ : IBV_WC_RDMA_WRITE;

	if (wc->status != IBV_WC_SUCCESS)
		die("%s on QP %#x completed with %s (vendor error %#x)", names[first->kind], wc->qp_num, ibv_wc_status_str(wc->status), wc->vendor_err);
	if (first->kind == RECEIVE && wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM)
		has_received(connection, first, wc);
	else if (wc->opcode != expected)
		die("%s on QP %#x completed as opcode %d", names[first->kind], wc->qp_num, wc->opcode);
	/* A chain belongs to all messages of its group. */
	for (int i = 0; i < (first->kind == SEND ? first->count : 1); i++) {
		struct request *request = &connection->requests[wc->wr_id >> 8 * i & 0xff];

		if (request->kind != first->kind || request->events-- <= 0)
			die("one completion too many on QP %#x, wr_id %#lx: %s", wc->qp_num, wc->wr_id, names[request->kind]);
	}
}

bool request_test(struct connection *connection, struct request *request)
{
	struct ibv_wc wc[4];
	int count;

	while (request->events) {
		count = ibv_poll_cq(connection->cq, 4, wc);
		if (count < 0)
			die("cannot poll the CQ");
		if (!count)
			return false;
		for (int i = 0; i < count; i++)
			take(connection, &wc[i]);
	}
	request->kind = UNUSED;
	return true;
}
