// SPDX-License-Identifier: GPL-2.0-only
/* What is sent: groups of messages, each drawn from the seed, its direction and its number, so that both ends know it without asking. */
#include "nccl.h"

enum { LARGEST = 4 << 20 /* NCCL's buffer */, SLACK = 1024, SKEW = 64 };

uint32_t plan_room(void)
{
	return LARGEST + GROUP * (SLACK + SKEW + 2 * GUARD);
}

static uint32_t any_size(uint64_t *random)
{
	switch (below(random, 10)) {
	case 0: return 0;
	case 1: return 1;
	case 2: return 2 * below(random, 2048) + 1;
	case 3: return 64 << 10;
	case 4: return (64 << 10) - 1 - below(random, 2 * ALIGN);
	case 5: return 1 << 20;
	case 6: return LARGEST;
	case 7: return below(random, LARGEST);
	case 8: return ALIGN * below(random, 64);
	default: return below(random, 64 << 10);
	}
}

static int any_count(uint64_t *random)
{
	return below(random, 4) ? 1 : 2 + (int)below(random, GROUP - 1);
}

void plan_group(struct group *group, bool from_client, uint64_t number)
{
	uint64_t random = mix(nccl.terms.seed ^ mix(2 * number + from_client));
	uint32_t at = 0;

	group->count = any_count(&random);
	for (int i = 0; i < group->count; i++) {
		struct message *message = &group->message[i];

		message->size = any_size(&random);
		if (message->size > LARGEST / (uint32_t)group->count)
			message->size = LARGEST / (uint32_t)group->count;
		/* As a rule the receiver does not know how much will come. */
		message->room = message->size + (below(&random, 2) ? below(&random, SLACK) : 0);
		message->tag = (uint32_t)number << 3 | (uint32_t)i;
		at += GUARD + (below(&random, 2) ? below(&random, SKEW) : 0);
		message->at = at;
		message->stream = draw(&random);
		at += message->room + GUARD;
	}
}

uint32_t piece_of(uint32_t size, int index)
{
	uint32_t qps = (uint32_t)qps_per_message();
	uint32_t piece = ((size + qps - 1) / qps + ALIGN - 1) / ALIGN * ALIGN;
	uint32_t from = piece * (uint32_t)index;

	return from >= size ? 0 : size - from < piece ? size - from : piece;
}
