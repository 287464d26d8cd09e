// SPDX-License-Identifier: GPL-2.0-only
/* The sender: it finds in its fifo what the receiver waits for, and writes it there. */
#include "nccl.h"

#include <errno.h>
#include <string.h>

/* Everything before `index` has to be there once that has been seen. NCCL relies on it and could not tell if it were not so. */
static void check_element(const struct element *element, const struct group *group, uint64_t index, int which)
{
	const struct message *message = &group->message[which];

	if (element->sum != element_sum(element))
		die("fifo slot %lu element %d: its index came before its content: address %#lx, size %lu, rkey %#x, count %u, tag %#x", index, which,
		    element->address, element->size, element->rkey, element->count, element->tag);
	if (element->count != (uint32_t)group->count || element->size != message->room || element->tag != message->tag)
		die("fifo slot %lu element %d: count %u, size %lu, tag %#x, and not %d, %u, %#x", index, which, element->count, element->size,
		    element->tag, group->count, message->room, message->tag);
	if (!element->address || !element->rkey)
		die("fifo slot %lu element %d: address %#lx, rkey %#x", index, which, element->address, element->rkey);
}

/* The same chain on every QP, each with its piece of every message: writes, and the last one carries the immediate data. */
static void post_chains(struct sender *sender, uint32_t slot)
{
	const struct element *elements = sender->fifo[slot];
	struct request **requests = sender->accepted[slot];
	int count = requests[0]->count, last = count - 1, qps = qps_per_message();
	struct ibv_send_wr chain[GROUP + 1] = { 0 }, *bad;
	struct ibv_sge sge[GROUP + 1] = { 0 };
	uint32_t done[GROUP] = { 0 };

	for (int i = 0; i < count; i++) {
		chain[i].opcode = IBV_WR_RDMA_WRITE;
		chain[i].next = &chain[i + 1];
		chain[i].wr.rdma.rkey = elements[i].rkey;
	}
	/* The sizes of a group go to the receiver with the immediate data; with adaptive routing nothing does, nor is there an rkey. */
	if (count > 1 || (nccl.terms.adaptive && requests[0]->size > ADAPTIVE))
		last++;
	if (count > 1) {
		for (int i = 0; i < count; i++)
			sender->sizes[slot][i] = (int)requests[i]->size;
		sge[last] = (struct ibv_sge){ (uintptr_t)sender->sizes[slot], (uint32_t)count * sizeof(int), sender->sizes_mr->lkey };
		chain[last].sg_list = &sge[last];
		chain[last].num_sge = 1;
		chain[last].wr.rdma.remote_addr = sender->remote_sizes + slot * sizeof(sender->sizes[0]);
		chain[last].wr.rdma.rkey = sender->remote_sizes_rkey;
	}
	chain[last].opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	chain[last].send_flags = IBV_SEND_SIGNALED;
	chain[last].imm_data = count > 1 ? 0 : requests[0]->size;
	chain[last].next = NULL;
	for (int i = 0; i < count; i++)
		chain[last].wr_id |= request_number(&sender->connection, requests[i]) << 8 * i;

	for (int q = 0; q < qps; q++) {
		for (int i = 0; i < count; i++) {
			uint32_t length = piece_of(requests[i]->size, q);

			sge[i] = (struct ibv_sge){ (uintptr_t)requests[i]->data + done[i], length, requests[i]->lkey };
			chain[i].sg_list = length ? &sge[i] : NULL;
			chain[i].num_sge = length ? 1 : 0;
			chain[i].wr.rdma.remote_addr = elements[i].address + done[i];
			done[i] += length;
		}
		errno = ibv_post_send(next_qp(&sender->connection), chain, &bad);
		if (errno)
			die("cannot post request %ld of a chain of %d: %s", (long)(bad - chain), last + 1, strerror(errno));
	}
	for (int i = 0; i < count; i++)
		if (done[i] != requests[i]->size)
			die("%u bytes of %u are on their way", done[i], requests[i]->size);
}

struct request *send_message(struct sender *sender, const struct group *group, int which, const uint8_t *data, uint32_t lkey)
{
	uint32_t slot = (uint32_t)(sender->head % REQUESTS);
	volatile struct element *elements = sender->fifo[slot];
	struct request **accepted = sender->accepted[slot], *request;
	uint64_t index = sender->head + 1;
	int count, here;

	if (elements[0].index != index)
		return NULL;
	count = (int)elements[0].count;
	if (count < 1 || count > GROUP)
		die("fifo slot %lu: a group of %d", index, count);
	for (int i = 1; i < count; i++)
		for (double end = now() + nccl.hang_seconds; elements[i].index != index;)
			if (now() > end)
				die("fifo slot %lu: element %d of %d does not come", index, i, count);
	__sync_synchronize();
	for (int i = 0; i < count; i++)
		check_element((const struct element *)&elements[i], group, index, i);

	for (here = 0; here < count && (accepted[here] || elements[here].tag != group->message[which].tag);)
		here++;
	if (here == count)
		die("fifo slot %lu: nobody waits for tag %#x", index, group->message[which].tag);
	request = request_get(&sender->connection, SEND, count);
	request->size = group->message[which].size;
	request->data = data;
	request->lkey = lkey;
	request->events = qps_per_message();
	accepted[here] = request;
	for (int i = 0; i < count; i++)
		if (!accepted[i])
			return request;
	post_chains(sender, slot);
	memset((void *)&elements[0], 0, sizeof(elements[0]));
	memset(accepted, 0, sizeof(sender->accepted[slot]));
	sender->head++;
	return request;
}
