// SPDX-License-Identifier: GPL-2.0-only
/* The receiver: receives without memory, a word to the sender where the data may go, and the flush when it is there. */
#include "nccl.h"

#include <errno.h>
#include <string.h>

uint64_t element_sum(const struct element *element)
{
	uint64_t sum = nccl.terms.seed;

	sum = mix(sum ^ element->address);
	sum = mix(sum ^ element->size);
	sum = mix(sum ^ ((uint64_t)element->rkey << 32 | element->tag));
	return mix(sum ^ element->index ^ (uint64_t)element->count << 56);
}

static void write_fifo(struct receiver *receiver, struct request *request, uint8_t *data, uint32_t rkey)
{
	const struct group *group = request->group;
	uint32_t slot = (uint32_t)(receiver->tail % REQUESTS);
	struct element *elements = receiver->fifo[slot];
	struct ibv_sge sge = { (uintptr_t)elements, (uint32_t)group->count * sizeof(*elements), receiver->fifo_mr->lkey };
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE, .sg_list = &sge, .num_sge = 1 }, *bad;

	for (int i = 0; i < group->count; i++) {
		elements[i] = (struct element){
			.address = (uintptr_t)data + group->message[i].at,
			.size = group->message[i].room,
			.rkey = rkey,
			.count = (uint32_t)group->count,
			.tag = group->message[i].tag,
			.index = receiver->tail + 1,
		};
		elements[i].sum = element_sum(&elements[i]);
	}
	wr.wr.rdma.remote_addr = receiver->remote_fifo + slot * sizeof(receiver->fifo[0]);
	wr.wr.rdma.rkey = receiver->remote_fifo_rkey;
	/* NCCL asks for room for one element and hopes for more. */
	if (nccl.terms.inlined && sge.length <= receiver->inline_room)
		wr.send_flags |= IBV_SEND_INLINE;
	/* Nobody waits for these, but without a completion now and then the send queue would fill up. */
	if (!slot) {
		wr.send_flags |= IBV_SEND_SIGNALED;
		wr.wr_id = request_number(&receiver->connection, request);
		request->events++;
	}
	errno = ibv_post_send(receiver->connection.qp[0], &wr, &bad);
	if (errno)
		die("cannot write to slot %lu of the fifo: %s", receiver->tail + 1, strerror(errno));
	receiver->tail++;
}

/* The sender decides what comes with the immediate data, see post_chains(). */
static uint32_t length_on(const struct group *group, int index)
{
	uint32_t size = group->message[0].size;

	if (group->count > 1)
		return (uint32_t)group->count * sizeof(int);
	return nccl.terms.adaptive && size > ADAPTIVE ? 0 : piece_of(size, index);
}

struct request *receive_group(struct receiver *receiver, const struct group *group, uint8_t *data, uint32_t rkey)
{
	struct connection *connection = &receiver->connection;
	struct request *request = request_get(connection, RECEIVE, group->count);
	struct ibv_recv_wr wr = { .wr_id = request_number(connection, request) }, *bad;

	request->group = group;
	request->sizes = receiver->sizes[receiver->tail % REQUESTS];
	memset(request->sizes, 0, sizeof(receiver->sizes[0]));
	for (int i = 0; i < qps_per_message(); i++) {
		request->length[connection->turn] = length_on(group, i);
		errno = ibv_post_recv(next_qp(connection), &wr, &bad);
		if (errno)
			die("cannot post receive %d of group %lu: %s", i, receiver->tail, strerror(errno));
		request->events++;
	}
	write_fifo(receiver, request, data, rkey);
	return request;
}

struct request *receive_flush(struct receiver *receiver, const struct group *group, const uint8_t *data, uint32_t rkey)
{
	struct ibv_sge sge = { (uintptr_t)&receiver->flushed, 1, receiver->flush_mr->lkey };
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED, .sg_list = &sge, .num_sge = 1 }, *bad;
	struct request *request;
	int last = -1;

	for (int i = 0; i < group->count; i++)
		if (group->message[i].size)
			last = i;
	if (last < 0)
		return NULL;
	request = request_get(&receiver->connection, FLUSH, 1);
	request->events = 1;
	wr.wr_id = request_number(&receiver->connection, request);
	wr.wr.rdma.remote_addr = (uintptr_t)data + group->message[last].at;
	wr.wr.rdma.rkey = rkey;
	errno = ibv_post_send(receiver->flush_qp, &wr, &bad);
	if (errno)
		die("cannot post a flush: %s", strerror(errno));
	return request;
}
