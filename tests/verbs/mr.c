// SPDX-License-Identifier: GPL-2.0-only
/* Memory regions: registration, addresses, reregistration, and that nothing outside is touched. */
#include <pthread.h>
#include <rdma/ib_user_verbs.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "memory.h"

enum {
	PAGE = 4096,
	LOCAL = IBV_ACCESS_LOCAL_WRITE,
	WRITE = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
	ALL = WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC,
};

static uint32_t chance(uint32_t below)
{
	return (uint32_t)random() % below;
}

static void fill(void *memory, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)memory)[i] = random();
}

/* What the kernel counts as pinned for this process, in KiB. */
static long pinned(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[200];
	long kilobytes = -1;

	CHECK(status);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmPin: %ld", &kilobytes) == 1)
			break;
	fclose(status);
	return kilobytes;
}

static void registration(struct rig *rig)
{
	char *memory = map(16 * PAGE, PROT_READ | PROT_WRITE);
	struct ibv_mr *mr;
	long before = pinned();
	char *constant = map(PAGE, PROT_READ);

	CHECK(!ibv_reg_mr(rig->pd, memory, PAGE, IBV_ACCESS_REMOTE_WRITE));
	CHECK(!ibv_reg_mr(rig->pd, memory, PAGE, IBV_ACCESS_REMOTE_ATOMIC));
	CHECK(!ibv_reg_mr(rig->pd, memory, PAGE, 1 << 18));
	CHECK(!ibv_reg_mr(rig->pd, memory, 0, LOCAL));
	CHECK(!ibv_reg_mr(rig->pd, memory, SIZE_MAX, LOCAL));
	CHECK(!ibv_reg_mr(rig->pd, memory, SIZE_MAX - (uintptr_t)memory, LOCAL));
	CHECK(!ibv_reg_mr(rig->pd, memory, 1ull << 46, LOCAL));
	CHECK(!ibv_reg_mr(rig->pd, (void *)-(uintptr_t)PAGE, PAGE, LOCAL));
	CHECK(!ibv_reg_mr(rig->pd, NULL, PAGE, LOCAL));
	CHECK(!ibv_reg_mr_iova(rig->pd, memory, 2 * PAGE, -(uint64_t)PAGE, LOCAL));
	CHECK(!ibv_reg_mr(rig->pd, constant, PAGE, LOCAL));
	EQUAL(pinned(), before);

	CHECK(mr = ibv_reg_mr(rig->pd, memory + 100, 16 * PAGE - 200, ALL | IBV_ACCESS_RELAXED_ORDERING));
	EQUAL(pinned() - before, 64);
	EQUAL(ibv_dereg_mr(mr), 0);
	EQUAL(pinned(), before);
	/* Memory that may only be read. */
	CHECK(mr = ibv_reg_mr(rig->pd, constant, PAGE, IBV_ACCESS_REMOTE_READ));
	EQUAL(ibv_dereg_mr(mr), 0);
	munmap(memory, 16 * PAGE);
	munmap(constant, PAGE);
}

/* A key tells nothing about the next one. */
static void keys(struct rig *rig)
{
	enum { MANY = 256 };
	struct ibv_mr *mr[MANY];
	unsigned int low[256] = { 0 }, lows = 0, near = 0, falls = 0;

	for (int i = 0; i < MANY; i++) {
		CHECK(mr[i] = ibv_reg_mr(rig->pd, rig->buffer, 64, LOCAL));
		CHECK(mr[i]->lkey);
		EQUAL(mr[i]->lkey, mr[i]->rkey);
		lows += !low[mr[i]->lkey & 0xff]++;
		for (int j = 0; j < i; j++)
			CHECK(mr[i]->lkey >> 8 != mr[j]->lkey >> 8);
		if (i) {
			int64_t step = (int64_t)(mr[i]->lkey >> 8) - (int64_t)(mr[i - 1]->lkey >> 8);

			near += llabs(step) < 1 << 14;
			falls += step < 0;
		}
	}
	/* Of 256 random bytes about 162 differ; about 0.5 of 255 steps are that short, and half of them go down. */
	CHECK(lows > 120);
	CHECK(near < 8);
	CHECK(falls > 80 && falls < 175);
	for (int i = 0; i < MANY; i++)
		EQUAL(ibv_dereg_mr(mr[i]), 0);
}

/* Random reads and writes between regions at odd places, under their own addresses or others. */
static void addresses(struct rig *rig, uint64_t iova_shift)
{
	enum { PAGES = 40, LENGTH = PAGES * PAGE, ROUNDS = 150 };
	uint8_t *here = map(LENGTH, PROT_READ | PROT_WRITE), *there = map(LENGTH, PROT_READ | PROT_WRITE);
	uint8_t *want_here = malloc(LENGTH), *want_there = malloc(LENGTH);
	/* Where the regions begin and end in their memory. */
	uint32_t lead = 1 + chance(2 * PAGE), tail = chance(2 * PAGE), length = LENGTH - lead - tail;
	struct ibv_mr *local, *remote;
	struct wire wire;

	wire_open(&wire, rig, rig->pd);
	fill(here, LENGTH);
	fill(there, LENGTH);
	/* Pages that are not neighbours in memory: every third one is given back and taken anew. */
	for (int page = 0; page < PAGES; page += 3) {
		madvise(here + page * PAGE, PAGE, MADV_DONTNEED);
		madvise(there + page * PAGE, PAGE, MADV_DONTNEED);
	}
	memcpy(want_here, here, LENGTH);
	memcpy(want_there, there, LENGTH);
	CHECK(local = ibv_reg_mr(rig->pd, here + lead, length, ALL));
	CHECK(remote = ibv_reg_mr_iova(rig->pd, there + lead, length, (uintptr_t)there + lead + iova_shift, ALL));
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t size = chance(4) ? chance(3 * PAGE) : chance(length), from = chance(length - size + 1), to = chance(length - size + 1);
		struct place at_local = { (uintptr_t)here + lead + from, local->lkey };
		struct place at_remote = { (uintptr_t)there + lead + to + iova_shift, remote->rkey };

		if (chance(2)) {
			EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, at_local, size, at_remote), IBV_WC_SUCCESS);
			memcpy(want_there + lead + to, want_here + lead + from, size);
		} else {
			EQUAL(wire_rdma(&wire, IBV_WR_RDMA_READ, at_local, size, at_remote), IBV_WC_SUCCESS);
			memcpy(want_here + lead + from, want_there + lead + to, size);
		}
	}
	CHECK(!memcmp(here, want_here, LENGTH));
	CHECK(!memcmp(there, want_there, LENGTH));
	EQUAL(ibv_dereg_mr(local), 0);
	EQUAL(ibv_dereg_mr(remote), 0);
	wire_close(&wire);
	free(want_here);
	free(want_there);
	munmap(here, LENGTH);
	munmap(there, LENGTH);
}

/* One byte too far is refused, whoever asks. */
static void bounds(struct rig *rig)
{
	uint8_t *memory = map(4 * PAGE, PROT_READ | PROT_WRITE), *want = malloc(4 * PAGE);
	uint64_t start = (uintptr_t)memory + 1000, length = PAGE + 500;
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey };
	struct ibv_mr *mr, *read_only;
	struct wire wire;
	struct {
		uint64_t addr;
		uint32_t length;
	} bad[] = {
		{ start - 1, 1 },	   { start - 1, 2 },	 { start + length, 1 }, { start + length - 1, 2 }, { start, length + 1 },
		{ start, 3 * PAGE },	   { 0, 1 },		 { UINT64_MAX, 1 },	{ UINT64_MAX - 7, 8 },	   { UINT64_MAX - 10, 2 * PAGE },
		{ start - PAGE, 2 * PAGE }, { start + (1ull << 32), 1 }, { start ^ (1ull << 63), 1 },
	};

	fill(memory, 4 * PAGE);
	memcpy(want, memory, 4 * PAGE);
	CHECK(mr = ibv_reg_mr(rig->pd, (void *)start, length, ALL));
	CHECK(read_only = ibv_reg_mr(rig->pd, memory, PAGE, IBV_ACCESS_REMOTE_READ));
	wire_open(&wire, rig, rig->pd);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct place at = { bad[i].addr, mr->rkey };

		wire_refused(&wire, IBV_WR_RDMA_WRITE, good, bad[i].length, at, IBV_WC_REM_ACCESS_ERR);
		wire_refused(&wire, IBV_WR_RDMA_READ, good, bad[i].length, at, IBV_WC_REM_ACCESS_ERR);
		wire_refused(&wire, IBV_WR_RDMA_WRITE, at, bad[i].length, good, IBV_WC_LOC_PROT_ERR);
		wire_refused(&wire, IBV_WR_RDMA_READ, at, bad[i].length, good, IBV_WC_LOC_PROT_ERR);
	}
	/* Nothing at the end is within. */
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 0, (struct place){ start + length, mr->rkey }), IBV_WC_SUCCESS);
	/* Rights, and keys that are almost right. */
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 1, (struct place){ (uintptr_t)memory, read_only->rkey }, IBV_WC_REM_ACCESS_ERR);
	wire_refused(&wire, IBV_WR_RDMA_READ, (struct place){ (uintptr_t)memory, read_only->lkey }, 1, good, IBV_WC_LOC_PROT_ERR);
	for (int bit = 0; bit < 32; bit += 3) {
		wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 1, (struct place){ start, mr->rkey ^ (1u << bit) }, IBV_WC_REM_ACCESS_ERR);
		wire_refused(&wire, IBV_WR_RDMA_WRITE, (struct place){ start, mr->lkey ^ (1u << bit) }, 1, good, IBV_WC_LOC_PROT_ERR);
	}
	CHECK(!memcmp(memory, want, 4 * PAGE));
	EQUAL(ibv_dereg_mr(mr), 0);
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 1, (struct place){ start, mr->rkey }, IBV_WC_REM_ACCESS_ERR);
	EQUAL(ibv_dereg_mr(read_only), 0);
	wire_close(&wire);
	free(want);
	munmap(memory, 4 * PAGE);
}

/* librxe has no such call, but the kernel has. */
static int rereg(struct rig *rig, struct ibv_mr *mr, uint32_t what, struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, uint32_t access)
{
	struct ib_uverbs_rereg_mr_resp response = { 0 };
	struct {
		struct ib_uverbs_cmd_hdr header;
		struct ib_uverbs_rereg_mr command;
	} request = {
		.header = { IB_USER_VERBS_CMD_REREG_MR, sizeof(request) / 4, sizeof(response) / 4 },
		.command = { (uintptr_t)&response, mr->handle, what, (uintptr_t)addr, length, iova, pd ? pd->handle : 0, access },
	};

	if (write(rig->context->cmd_fd, &request, sizeof(request)) != sizeof(request))
		return errno;
	EQUAL(response.lkey, mr->lkey);
	EQUAL(response.rkey, mr->rkey);
	return 0;
}

static void reregistration(struct rig *rig)
{
	uint8_t *a = map(4 * PAGE, PROT_READ | PROT_WRITE), *b = map(4 * PAGE, PROT_READ | PROT_WRITE);
	char *constant = map(PAGE, PROT_READ);
	struct ibv_pd *other = ibv_alloc_pd(rig->context);
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey };
	struct ibv_mr *mr = ibv_reg_mr(rig->pd, a, 2 * PAGE, WRITE), *read_only = ibv_reg_mr(rig->pd, constant, PAGE, 0);
	struct place at = { (uintptr_t)a, mr->rkey };
	struct wire wire;
	long before = pinned();

	CHECK(mr && read_only && other);
	wire_open(&wire, rig, rig->pd);
	fill(rig->buffer, 8);

	/* Rights. */
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, at), IBV_WC_SUCCESS);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0, LOCAL), 0);
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 8, at, IBV_WC_REM_ACCESS_ERR);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0, IBV_ACCESS_REMOTE_WRITE), EINVAL);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0, 1 << 18), EINVAL);
	EQUAL(rereg(rig, read_only, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0, LOCAL), EACCES);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0, WRITE), 0);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, at), IBV_WC_SUCCESS);

	/* Protection domain. */
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_PD, other, NULL, 0, 0, 0), 0);
	CHECK(ibv_dealloc_pd(other));
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 8, at, IBV_WC_REM_ACCESS_ERR);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_PD, rig->pd, NULL, 0, 0, 0), 0);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, at), IBV_WC_SUCCESS);
	EQUAL(pinned(), before);

	/* Memory: other, more, elsewhere. */
	memset(a, 0, 4 * PAGE);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, b + 1, 3 * PAGE, (uintptr_t)a + 1, 0), 0);
	EQUAL(pinned(), before + 8);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, (struct place){ (uintptr_t)a + 2 * PAGE + 2, mr->rkey }), IBV_WC_SUCCESS);
	CHECK(!memcmp(b + 2 * PAGE + 2, rig->buffer, 8));
	for (int i = 0; i < 4 * PAGE; i++)
		EQUAL(a[i], 0);
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 1, at, IBV_WC_REM_ACCESS_ERR);
	/* What fails leaves everything as it was. */
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, (void *)PAGE, PAGE, PAGE, 0), EFAULT);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, a, 0, (uintptr_t)a, 0), EINVAL);
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, a, 2 * PAGE, -(uint64_t)PAGE, 0), EINVAL);
	EQUAL(pinned(), before + 8);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, (struct place){ (uintptr_t)a + 1, mr->rkey }), IBV_WC_SUCCESS);
	CHECK(!memcmp(b + 1, rig->buffer, 8));
	/* All at once. */
	EQUAL(rereg(rig, mr, IBV_REREG_MR_CHANGE_TRANSLATION | IBV_REREG_MR_CHANGE_PD | IBV_REREG_MR_CHANGE_ACCESS, other, a, PAGE, (uintptr_t)a, LOCAL), 0);
	wire_close(&wire);
	wire_open(&wire, rig, other);
	wire_refused(&wire, IBV_WR_RDMA_WRITE, (struct place){ (uintptr_t)a, mr->lkey }, 8, at, IBV_WC_REM_ACCESS_ERR);
	wire_close(&wire);
	EQUAL(ibv_dereg_mr(mr), 0);
	EQUAL(ibv_dereg_mr(read_only), 0);
	EQUAL(ibv_dealloc_pd(other), 0);
	munmap(a, 4 * PAGE);
	munmap(b, 4 * PAGE);
	munmap(constant, PAGE);
}

struct toggle {
	struct rig *rig;
	struct ibv_mr *mr;
	uint8_t *memory[2];
	atomic_bool stop;
	unsigned int times;
};

enum { BLOCK = 1024 };

static void *toggle(void *data)
{
	struct toggle *toggle = data;

	while (!toggle->stop) {
		uint8_t *next = toggle->memory[toggle->times++ % 2];

		EQUAL(rereg(toggle->rig, toggle->mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, next, BLOCK, 0x10000 + ((uintptr_t)next & (PAGE - 1)), 0), 0);
	}
	return NULL;
}

/* While a region changes between two memories, each packet goes to one of them as a whole. */
static void change_under_traffic(struct rig *rig)
{
	enum { ROUNDS = 2000 };
	uint8_t *memory = map(4 * PAGE, PROT_READ | PROT_WRITE);
	/* Both across a page's end, at the same place in it. */
	struct toggle state = { .rig = rig, .memory = { memory + PAGE - 500, memory + 3 * PAGE - 500 } };
	uint64_t iova = 0x10000 + PAGE - 500;
	struct ibv_mr *source = ibv_reg_mr(rig->pd, rig->buffer, BUFFER, LOCAL);
	unsigned int to[2] = { 0 };
	struct wire wire;
	pthread_t thread;

	CHECK(source);
	CHECK(state.mr = ibv_reg_mr_iova(rig->pd, state.memory[1], BLOCK, iova, WRITE));
	wire_open(&wire, rig, rig->pd);
	EQUAL(pthread_create(&thread, NULL, toggle, &state), 0);
	for (int round = 1; round <= ROUNDS || state.times < 100; round++) {
		uint8_t tag = 1 + round % 255;
		int whole = -1;

		memset(rig->buffer, tag, BLOCK);
		EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, (struct place){ (uintptr_t)rig->buffer, source->lkey }, BLOCK,
				(struct place){ iova, state.mr->rkey }),
		      IBV_WC_SUCCESS);
		for (int side = 0; side < 2; side++) {
			int bytes = 0;

			for (int i = 0; i < BLOCK; i++)
				bytes += state.memory[side][i] == tag;
			CHECK(bytes == 0 || bytes == BLOCK);
			if (bytes) {
				EQUAL(whole, -1);
				whole = side;
				to[side]++;
				memset(state.memory[side], 0, BLOCK);
			}
		}
		CHECK(whole >= 0);
	}
	state.stop = true;
	EQUAL(pthread_join(thread, NULL), 0);
	CHECK(to[0] && to[1]);
	wire_close(&wire);
	EQUAL(ibv_dereg_mr(state.mr), 0);
	EQUAL(ibv_dereg_mr(source), 0);
	munmap(memory, 4 * PAGE);
}

struct pouring {
	struct wire *wire;
	struct place from, to;
	enum ibv_wc_status end;
};

static void *pour(void *data)
{
	struct pouring *pouring = data;

	do {
		pouring->end = wire_rdma(pouring->wire, IBV_WR_RDMA_WRITE, pouring->from, 16 * 1024, pouring->to);
	} while (pouring->end == IBV_WC_SUCCESS);
	return NULL;
}

/* Once a region is deregistered its memory is the process's alone, whatever is under way. */
static void end_under_traffic(struct rig *rig)
{
	struct wire wire;

	wire_open(&wire, rig, rig->pd);
	memset(rig->buffer, 0xee, BUFFER);
	for (int round = 0; round < 60; round++) {
		uint8_t *memory = map(4 * PAGE, PROT_READ | PROT_WRITE);
		struct ibv_mr *mr = ibv_reg_mr(rig->pd, memory, 4 * PAGE, WRITE);
		struct pouring pouring = { &wire, { (uintptr_t)rig->buffer, rig->mr->lkey }, { (uintptr_t)memory, 0 }, 0 };
		pthread_t thread;

		CHECK(mr);
		pouring.to.key = mr->rkey;
		EQUAL(pthread_create(&thread, NULL, pour, &pouring), 0);
		usleep(1000 + chance(3000));
		EQUAL(ibv_dereg_mr(mr), 0);
		memset(memory, 0x11, 4 * PAGE);
		for (int look = 0; look < 3; look++) {
			for (int i = 0; i < 4 * PAGE; i++)
				EQUAL(memory[i], 0x11);
			usleep(500);
		}
		EQUAL(pthread_join(thread, NULL), 0);
		EQUAL(pouring.end, IBV_WC_REM_ACCESS_ERR);
		wire_renew(&wire);
		munmap(memory, 4 * PAGE);
	}
	wire_close(&wire);
}

struct adding {
	struct rig *rig;
	struct place to;
	struct ibv_mr *mr;
	int times;
	atomic_int *busy;
};

static void *add(void *data)
{
	struct adding *adding = data;
	struct wire wire;

	wire_open(&wire, adding->rig, adding->rig->pd);
	for (int i = 0; i < adding->times; i++) {
		struct ibv_sge sge = { (uintptr_t)adding->mr->addr, 8, adding->mr->lkey };
		struct ibv_send_wr wr = { .sg_list = &sge,
					  .num_sge = 1,
					  .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
					  .wr.atomic = { .remote_addr = adding->to.addr, .compare_add = 1, .rkey = adding->to.key } };

		EQUAL(wire_post(&wire, &wr), IBV_WC_SUCCESS);
	}
	wire_close(&wire);
	atomic_fetch_sub(adding->busy, 1);
	return NULL;
}

/* Atomics are atomic towards each other and towards the CPU's own. */
static void atomics(struct rig *rig, int others, int times)
{
	enum { MOST = 4 };
	_Atomic uint64_t *counter = map(PAGE, PROT_READ | PROT_WRITE);
	struct ibv_mr *mr = ibv_reg_mr(rig->pd, (void *)counter, PAGE, ALL);
	struct adding adding[MOST];
	pthread_t threads[MOST];
	atomic_int busy = others;
	uint64_t own = 0;

	CHECK(mr);
	for (int i = 0; i < others; i++) {
		adding[i] = (struct adding){ rig, { (uintptr_t)counter, mr->rkey }, NULL, times, &busy };
		CHECK(adding[i].mr = ibv_reg_mr(rig->pd, rig->buffer + 64 * i, 8, LOCAL));
		EQUAL(pthread_create(&threads[i], NULL, add, &adding[i]), 0);
	}
	for (; atomic_load(&busy); own++)
		atomic_fetch_add(counter, 1);
	for (int i = 0; i < others; i++) {
		EQUAL(pthread_join(threads[i], NULL), 0);
		EQUAL(ibv_dereg_mr(adding[i].mr), 0);
	}
	EQUAL(atomic_load(counter), own + others * times);
	EQUAL(ibv_dereg_mr(mr), 0);
	munmap((void *)counter, PAGE);
}

void test_mr(struct rig *rig)
{
	srandom(getpid());
	registration(rig);
	keys(rig);
	addresses(rig, 0);
	addresses(rig, 5 * PAGE);
	addresses(rig, (uint64_t)1 << 62);
	bounds(rig);
	reregistration(rig);
	change_under_traffic(rig);
	end_under_traffic(rig);
	/* One alone leaves a CPU for our own additions. */
	atomics(rig, 1, 20000);
	atomics(rig, 4, 500);
}
