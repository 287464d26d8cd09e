// SPDX-License-Identifier: GPL-2.0-only
/*
 * Batches of operations. Everything about them comes from the plan's random numbers, so both ends know what is sent, where it lands
 * and what it leaves behind.
 *
 * Memory of a QP, for each direction:
 *
 *   sender    local   | gap | piece | gap | piece ...        what is sent, and what comes back from reads and atomics
 *   receiver  recv    | gap | piece | gap | piece ...        what receives take, in the order in which they are posted
 *             target  | WORDS words | bytes                  what atomics, and what writes and reads are about
 *
 * Writes go anywhere in the target, over each other too: later ones win. What a read has begun to read may not be written until it has
 * ended, so such a write waits for it (a fence).
 *
 * Half of the messages of a packet or more are sent from where a page begins: the payload of such packets need not be copied. The others
 * lie anywhere.
 */
#include "soak.h"

#include <string.h>

const char *const kind_names[KINDS] = { "SEND", "SEND_IMM", "WRITE", "WRITE_IMM", "READ", "FETCH_ADD", "CMP_SWAP" };

bool takes_receive(enum kind kind)
{
	return kind == SEND || kind == SEND_IMM || kind == WRITE_IMM;
}

bool is_atomic(enum kind kind)
{
	return kind == FETCH_ADD || kind == CMP_SWAP;
}

/* Payload of a whole batch: room for one message of the largest size and some others. */
static uint32_t batch_bytes(uint32_t largest)
{
	return largest + 64 * 1024;
}

uint32_t region_bytes(uint32_t largest)
{
	/* Receives are up to 256 bytes longer than what they take; what begins with a page leaves up to a page behind. */
	return batch_bytes(largest) + MAX_OPS * (MAX_PIECES * MAX_GAP + 256 + PAGE) + WORDS * 8;
}

void plan_begin(struct plan *plan, uint64_t seed, int qp, bool from_client, uint32_t largest, uint32_t smallest, uint32_t mtu)
{
	*plan = (struct plan){ .random = mix(seed + 2 * (uint64_t)qp + from_client), .largest = largest, .smallest = smallest, .mtu = mtu };
	plan->initial = draw(&plan->random);
	for (int i = 0; i < WORDS; i++)
		plan->words[i] = draw(&plan->random);
}

static enum kind some_kind(uint64_t *random)
{
	static const enum kind kinds[] = { SEND, SEND, SEND_IMM, WRITE, WRITE, WRITE, WRITE_IMM, READ, READ, FETCH_ADD, CMP_SWAP };

	return kinds[below(random, sizeof(kinds) / sizeof(*kinds))];
}

/* Short, at the edge of a packet, or of any order of magnitude; sometimes nothing at all. */
static uint32_t some_length(struct plan *plan, uint32_t most)
{
	uint64_t *random = &plan->random;
	uint32_t length, bits = 0;

	switch (below(random, 8)) {
	case 0:
		length = below(random, 4) ? 1 : 0;
		break;
	case 1:
	case 2:
		length = 1 + below(random, 64);
		break;
	case 3:
	case 4:
		length = plan->mtu * (1 + below(random, 8)) + below(random, 5) - 2;
		break;
	case 5:
		if (!below(random, 16)) {
			length = plan->largest;
			break;
		}
		/* fall through */
	default:
		while (plan->largest >> (bits + 1))
			bits++;
		bits = below(random, bits + 1);
		length = (1u << bits) + below(random, 1u << bits);
	}
	if (length > plan->largest)
		length = plan->largest;
	if (length < plan->smallest)
		length = plan->smallest;
	return length > most ? most : length;
}

/* The first byte of a region from `at` on that begins a page. */
static uint32_t next_page(uint32_t at)
{
	return (at + LEAD + PAGE - 1) / PAGE * PAGE - LEAD;
}

/* Lays `length` bytes out in pieces, behind `*used`. */
static int lay_out(uint64_t *random, uint32_t length, struct piece *pieces, uint32_t *used, uint32_t align)
{
	int count = length ? 1 + (int)below(random, length < MAX_PIECES ? length : MAX_PIECES) : 0;

	if (align > 1 || below(random, 2))
		count = length ? 1 : 0;
	for (int i = 0; i < count; i++) {
		uint32_t left = count - i - 1;

		*used += 1 + below(random, MAX_GAP - 8);
		*used = align == PAGE ? next_page(*used) : (*used + align - 1) / align * align;
		pieces[i].at = *used;
		pieces[i].length = left ? 1 + below(random, length - left) : length;
		*used += pieces[i].length;
		length -= pieces[i].length;
	}
	return count;
}

static void plan_atomic(struct plan *plan, struct op *op, uint32_t *local)
{
	uint64_t *random = &plan->random, *word;

	op->length = 8;
	op->remote = below(random, WORDS);
	word = &plan->words[op->remote];
	op->old = *word;
	op->compare_add = draw(random);
	op->swap = draw(random);
	if (op->kind == CMP_SWAP && below(random, 2))
		op->compare_add = op->old;
	if (op->kind == FETCH_ADD)
		op->new = op->old + op->compare_add;
	else
		op->new = op->old == op->compare_add ? op->swap : op->old;
	*word = op->new;
	op->pieces = lay_out(random, 8, op->local, local, 8);
}

static void plan_receive(struct plan *plan, struct op *op, uint32_t *recv)
{
	uint64_t *random = &plan->random;
	/* A write with immediate data needs no memory at its receive, and leaves alone what is there. */
	uint32_t room = op->kind == WRITE_IMM ? below(random, 2) * below(random, 64) : op->length + below(random, 2) * below(random, 200);

	op->recv_pieces = lay_out(random, room, op->recv, recv, 1);
}

static bool overlap(const struct op *a, const struct op *b)
{
	return a->remote < b->remote + b->length && b->remote < a->remote + a->length;
}

void plan_next(struct plan *plan, struct batch *batch)
{
	uint64_t *random = &plan->random;
	uint32_t local = 0, recv = 0, payload = batch_bytes(plan->largest), area = region_bytes(plan->largest) - WORDS * 8;
	int first_unfenced = 0;

	memset(batch, 0, sizeof(*batch));
	batch->ops = 1 + (int)below(random, MAX_OPS);
	for (int i = 0; i < batch->ops; i++) {
		struct op *op = &batch->op[i];
		bool last = i == batch->ops - 1, paged;

		op->kind = some_kind(random);
		/* The last one tells the receiver that the batch is complete. */
		if (last && !takes_receive(op->kind))
			op->kind = below(random, 2) ? SEND : WRITE_IMM;
		op->imm = (uint32_t)draw(random);
		op->stream = draw(random);
		op->signaled = last || below(random, 3);
		op->solicited = last || below(random, 4) == 0;
		op->fence = below(random, 16) == 0;
		if (is_atomic(op->kind)) {
			plan_atomic(plan, op, &local);
			continue;
		}
		/* The others need theirs. */
		op->length = some_length(plan, payload - (uint32_t)(batch->ops - 1 - i) * plan->smallest);
		payload -= op->length;
		paged = op->length >= plan->mtu && below(random, 2);
		if (op->kind != SEND && op->kind != SEND_IMM)
			op->remote = below(random, area - op->length);
		if (op->kind != READ && op->length <= INLINE)
			op->inlined = below(random, 2);
		if (op->kind == READ) {
			op->inlined = false;
		} else if (op->kind == WRITE || op->kind == WRITE_IMM) {
			for (int j = first_unfenced; j < i; j++)
				op->fence |= batch->op[j].kind == READ && overlap(op, &batch->op[j]);
		}
		if (op->fence)
			first_unfenced = i;
		op->pieces = lay_out(random, op->length, op->local, &local, paged ? PAGE : 1);
		if (takes_receive(op->kind))
			plan_receive(plan, op, &recv);
	}
}
