// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both ends send and receive at once, up to eight groups each way. A round is a fixed number of groups; after each of them both ends are
 * quiet for a moment and agree over TCP on another one, as between two collective operations.
 */
#include "nccl.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUND = 32, FRONT = 256 /* so that the first group does not begin with its page */ };

/* A group under way, and its part of the memory. */
struct slot {
	enum { FREE, RECEIVING, FLUSHING, SENDING, DONE } state;
	struct group group;
	uint8_t *bytes;
	double since;
	struct request *request; /* of the receiver */
	struct request *part[GROUP]; /* of the sender */
	int accepted;
};

struct direction {
	struct slot slot[IN_FLIGHT];
	uint64_t begun, ended, last; /* groups of this way; `last` is the first one of the next round */
	uint8_t *bytes;
	size_t size;
	struct ibv_mr *mr;
};

struct totals totals;

static struct sender *sender;
static struct receiver *receiver;
static struct direction out, in;

static void open_direction(struct direction *direction, struct connection *connection)
{
	size_t room = plan_room();

	direction->size = (FRONT + IN_FLIGHT * room + 4095) & ~(size_t)4095;
	direction->bytes = mmap(NULL, direction->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (direction->bytes == MAP_FAILED)
		die("no memory");
	direction->mr = register_data(connection, direction->bytes, direction->size);
	for (int i = 0; i < IN_FLIGHT; i++)
		direction->slot[i].bytes = direction->bytes + FRONT + (size_t)i * room;
}

void traffic_open(struct sender *sender_, struct receiver *receiver_)
{
	sender = sender_;
	receiver = receiver_;
	open_direction(&out, &sender->connection);
	open_direction(&in, &receiver->connection);
}

void traffic_close(void)
{
	deregister(out.mr, "what is sent");
	deregister(in.mr, "what is received");
	munmap(out.bytes, out.size);
	munmap(in.bytes, in.size);
}

static void guard(struct slot *slot)
{
	for (int i = 0; i < slot->group.count; i++) {
		const struct message *message = &slot->group.message[i];

		memset(slot->bytes + message->at - GUARD, GUARD_BYTE, GUARD);
		memset(slot->bytes + message->at + message->size, GUARD_BYTE, GUARD);
	}
}

static void check(const struct slot *slot, uint64_t number)
{
	for (int i = 0; i < slot->group.count; i++) {
		const struct message *message = &slot->group.message[i];
		const uint8_t *bytes = slot->bytes + message->at;
		int size = receiver->sizes[number % REQUESTS][i];
		long wrong;

		if (size != (int)message->size)
			die("group %lu message %d of %d: its size is %d, not %u", number, i, slot->group.count, size, message->size);
		wrong = pattern_check(bytes, message->size, message->stream, 0);
		if (wrong >= 0)
			die("group %lu message %d of %d: byte %ld of %u is %#x", number, i, slot->group.count, wrong, message->size, bytes[wrong]);
		if (constant_check(bytes - GUARD, GUARD, GUARD_BYTE) >= 0 || constant_check(bytes + message->size, GUARD, GUARD_BYTE) >= 0)
			die("group %lu message %d of %d: bytes beside its %u were written", number, i, slot->group.count, message->size);
		totals.bytes_in += message->size;
		totals.messages++;
	}
	totals.groups++;
}

/* True when something has gone on. */
static bool step_in(struct slot *slot, uint64_t number)
{
	if (slot->state == RECEIVING) {
		if (!request_test(&receiver->connection, slot->request))
			return false;
		slot->request = receive_flush(receiver, &slot->group, slot->bytes, in.mr->rkey);
		slot->state = FLUSHING;
	}
	if (slot->state != FLUSHING || (slot->request && !request_test(&receiver->connection, slot->request)))
		return false;
	if (now() - slot->since > totals.longest)
		totals.longest = now() - slot->since;
	check(slot, number);
	slot->state = DONE;
	return true;
}

static bool go_on_in(void)
{
	bool any = false;

	for (uint64_t number = in.ended; number < in.begun; number++)
		any |= step_in(&in.slot[number % IN_FLIGHT], number);
	for (; in.ended < in.begun && in.slot[in.ended % IN_FLIGHT].state == DONE; in.ended++)
		in.slot[in.ended % IN_FLIGHT].state = FREE;
	for (; in.begun < in.last && in.begun - in.ended < IN_FLIGHT; in.begun++) {
		struct slot *slot = &in.slot[in.begun % IN_FLIGHT];

		plan_group(&slot->group, !nccl.is_client, in.begun);
		guard(slot);
		slot->since = now();
		slot->request = receive_group(receiver, &slot->group, slot->bytes, in.mr->rkey);
		slot->state = RECEIVING;
		any = true;
	}
	return any;
}

static void prepare(struct slot *slot, uint64_t number)
{
	plan_group(&slot->group, nccl.is_client, number);
	for (int i = 0; i < slot->group.count; i++)
		pattern_fill(slot->bytes + slot->group.message[i].at, slot->group.message[i].size, slot->group.message[i].stream, 0);
	slot->accepted = 0;
	slot->since = now();
	slot->state = SENDING;
}

/* The messages of a group come in another order than the receiver has named them in. */
static bool offer(struct slot *slot, uint64_t number)
{
	int count = slot->group.count;

	while (slot->accepted < count) {
		int which = (int)((number + (uint64_t)slot->accepted) % (uint64_t)count);
		const uint8_t *data = slot->bytes + slot->group.message[which].at;

		slot->part[which] = send_message(sender, &slot->group, which, data, out.mr->lkey);
		if (!slot->part[which])
			return false;
		slot->accepted++;
	}
	return true;
}

static bool step_out(struct slot *slot)
{
	bool all = true;

	if (slot->state != SENDING)
		return false;
	for (int i = 0; i < slot->group.count; i++) {
		if (slot->part[i] && request_test(&sender->connection, slot->part[i]))
			slot->part[i] = NULL;
		all &= !slot->part[i];
	}
	if (!all)
		return false;
	for (int i = 0; i < slot->group.count; i++)
		totals.bytes_out += slot->group.message[i].size;
	slot->state = DONE;
	return true;
}

static bool go_on_out(void)
{
	bool any = false;

	for (uint64_t number = out.ended; number < out.begun; number++)
		any |= step_out(&out.slot[number % IN_FLIGHT]);
	for (; out.ended < out.begun && out.slot[out.ended % IN_FLIGHT].state == DONE; out.ended++)
		out.slot[out.ended % IN_FLIGHT].state = FREE;
	while (out.begun < out.last && out.begun - out.ended < IN_FLIGHT) {
		struct slot *slot = &out.slot[out.begun % IN_FLIGHT];

		if (slot->state == FREE)
			prepare(slot, out.begun);
		if (!offer(slot, out.begun))
			break;
		out.begun++;
		any = true;
	}
	return any;
}

static void report(void)
{
	printf("groups sent: %lu posted, %lu done; received: %lu posted, %lu done; this round ends at %lu\n", out.begun, out.ended, in.begun, in.ended,
	       in.last);
	for (uint64_t number = in.ended; number < in.begun; number++) {
		const struct slot *slot = &in.slot[number % IN_FLIGHT];

		printf("receive %lu: state %d, %d completions missing, %d messages, %.1f s old\n", number, slot->state,
		       slot->request && slot->state != DONE ? slot->request->events : 0, slot->group.count, now() - slot->since);
	}
}

static void run_round(void)
{
	double last = now();

	in.last += ROUND;
	out.last += ROUND;
	while (in.ended < in.last || out.ended < out.last) {
		bool any = go_on_in();

		any |= go_on_out();
		if (any) {
			last = now();
		} else if (now() - last > nccl.hang_seconds) {
			report();
			die("nothing has gone on for %.0f s", nccl.hang_seconds);
		} else {
			/* NCCL's thread never sleeps, but it gives way. */
			sched_yield();
		}
	}
}

void traffic_run(int fd)
{
	double began = now(), next = began;
	bool go_on = true, theirs;

	while (go_on) {
		run_round();
		if (now() >= next) {
			printf("%4.0f s: %lu groups, %.1f MB in, %.1f MB out, longest message %.0f ms\n", now() - began, totals.groups,
			       (double)totals.bytes_in / 1e6, (double)totals.bytes_out / 1e6, totals.longest * 1e3);
			next = now() + 5;
		}
		/* The client has the clock. */
		go_on = now() - began < nccl.terms.seconds;
		exchange(fd, &go_on, &theirs, sizeof(go_on));
		if (!nccl.is_client)
			go_on = theirs;
	}
	totals.seconds = now() - began;
}
