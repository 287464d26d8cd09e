// SPDX-License-Identifier: GPL-2.0-only
/* Memory that is not pinned: its pages come and go under traffic, and nobody notices. */
#include <fcntl.h>
#include <pthread.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "memory.h"

enum {
	PAGE = 4096,
	ON_DEMAND = IBV_ACCESS_ON_DEMAND,
	ALL = ON_DEMAND | IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC,
};

static uint32_t chance(uint32_t below)
{
	return (uint32_t)random() % below;
}

/* Memory whose content stays when its pages are taken away. */
static uint8_t *map_file(size_t length)
{
	int fd = memfd_create("odp", 0);
	uint8_t *memory;

	CHECK(fd >= 0);
	EQUAL(ftruncate(fd, length), 0);
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	return memory;
}

static bool present(void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	CHECK(fd >= 0);
	EQUAL(pread(fd, &entry, 8, (uintptr_t)page / PAGE * 8), 8);
	close(fd);
	return entry >> 63;
}

struct thief {
	uint8_t *memory[2];
	uint32_t pages;
	atomic_bool stop;
	unsigned long times;
};

static void *steal(void *data)
{
	struct thief *thief = data;
	unsigned int seed = 1;

	for (; !thief->stop; thief->times++) {
		uint32_t first = rand_r(&seed) % thief->pages, count = 1 + rand_r(&seed) % 4;
		uint8_t *memory = thief->memory[rand_r(&seed) % 2];

		if (first + count > thief->pages)
			count = thief->pages - first;
		EQUAL(madvise(memory + first * PAGE, count * PAGE, MADV_DONTNEED), 0);
		if (thief->times % 8 == 0)
			usleep(rand_r(&seed) % 300);
	}
	return NULL;
}

/* Random reads, writes and additions while another thread takes pages away all the time. */
static void traffic(struct rig *rig)
{
	enum { PAGES = 24, LENGTH = PAGES * PAGE, LEAD = 1000, ROUNDS = 400 };
	uint8_t *here = map_file(LENGTH), *there = map_file(LENGTH), *want_here = malloc(LENGTH), *want_there = malloc(LENGTH);
	struct thief thief = { .memory = { here, there }, .pages = PAGES };
	uint32_t length = LENGTH - LEAD - 77;
	struct ibv_mr *local, *remote;
	struct wire wire;
	pthread_t thread;

	for (int i = 0; i < LENGTH; i++) {
		here[i] = want_here[i] = random();
		there[i] = want_there[i] = random();
	}
	CHECK(local = ibv_reg_mr(rig->pd, here + LEAD, length, ALL));
	CHECK(remote = ibv_reg_mr_iova(rig->pd, there + LEAD, length, 0x7000000 + LEAD, ALL));
	wire_open(&wire, rig, rig->pd);
	EQUAL(pthread_create(&thread, NULL, steal, &thief), 0);
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t size = chance(4) ? chance(2 * PAGE) : chance(length), from = chance(length - size + 1), to = chance(length - size + 1);
		struct place at_local = { (uintptr_t)here + LEAD + from, local->lkey }, at_remote = { 0x7000000 + LEAD + to, remote->rkey };
		struct ibv_sge sge = { .length = 8, .lkey = local->lkey };
		struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD };

		switch (chance(3)) {
		case 0:
			EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, at_local, size, at_remote), IBV_WC_SUCCESS);
			memcpy(want_there + LEAD + to, want_here + LEAD + from, size);
			break;
		case 1:
			EQUAL(wire_rdma(&wire, IBV_WR_RDMA_READ, at_local, size, at_remote), IBV_WC_SUCCESS);
			memcpy(want_here + LEAD + from, want_there + LEAD + to, size);
			break;
		default:
			from = from / 8 * 8 % (length - 8);
			to = to / 8 * 8 % (length - 8);
			to -= to % 8;
			sge.addr = (uintptr_t)here + LEAD + from;
			wr.wr.atomic.remote_addr = 0x7000000 + LEAD + to;
			wr.wr.atomic.rkey = remote->rkey;
			wr.wr.atomic.compare_add = round;
			EQUAL(wire_post(&wire, &wr), IBV_WC_SUCCESS);
			memcpy(want_here + LEAD + from, want_there + LEAD + to, 8);
			*(uint64_t *)(want_there + LEAD + to) += round;
		}
	}
	thief.stop = true;
	EQUAL(pthread_join(thread, NULL), 0);
	CHECK(thief.times > 100);
	wire_close(&wire);
	CHECK(!memcmp(here, want_here, LENGTH));
	CHECK(!memcmp(there, want_there, LENGTH));
	EQUAL(ibv_dereg_mr(local), 0);
	EQUAL(ibv_dereg_mr(remote), 0);
	munmap(here, LENGTH);
	munmap(there, LENGTH);
	free(want_here);
	free(want_there);
}

/* What a process does with its mappings, a peer sees; what is not there ends in an error, and comes back. */
static void mappings(struct rig *rig)
{
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey };
	uint8_t *memory = map(8 * PAGE, PROT_READ | PROT_WRITE);
	struct ibv_mr *mr, *constant;
	struct place at = { (uintptr_t)memory, 0 };
	struct wire wire;

	wire_open(&wire, rig, rig->pd);
	/* A hole from the beginning. */
	munmap(memory + 2 * PAGE, 2 * PAGE);
	CHECK(mr = ibv_reg_mr(rig->pd, memory, 8 * PAGE, ALL));
	at.key = mr->rkey;
	memset(rig->buffer, 0x5a, PAGE);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, PAGE, at), IBV_WC_SUCCESS);
	EQUAL(memory[PAGE - 1], 0x5a);
	at.addr += 2 * PAGE - 8;
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 16, at, IBV_WC_REM_ACCESS_ERR);
	wire_refused(&wire, IBV_WR_RDMA_READ, good, 16, at, IBV_WC_REM_ACCESS_ERR);
	/* What reaches from the hole into a page that is only not there yet is refused; the page alone is not. */
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 16, (struct place){ (uintptr_t)memory + 4 * PAGE - 8, mr->rkey }, IBV_WC_REM_ACCESS_ERR);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, (struct place){ (uintptr_t)memory + 4 * PAGE, mr->rkey }), IBV_WC_SUCCESS);
	EQUAL(memory[4 * PAGE + 7], 0x5a);
	/* It is filled, and there it is. */
	CHECK(mmap(memory + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory + 2 * PAGE);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 16, at), IBV_WC_SUCCESS);
	EQUAL(memory[2 * PAGE + 7], 0x5a);
	/* Memory that is given back is empty when it comes again. */
	EQUAL(madvise(memory, 8 * PAGE, MADV_DONTNEED), 0);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_READ, good, 16, at), IBV_WC_SUCCESS);
	for (int i = 0; i < 16; i++)
		EQUAL(rig->buffer[i], 0);
	/* Only to be read for a while. */
	EQUAL(mprotect(memory, 8 * PAGE, PROT_READ), 0);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_READ, good, 16, at), IBV_WC_SUCCESS);
	wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 16, at, IBV_WC_REM_ACCESS_ERR);
	EQUAL(mprotect(memory, 8 * PAGE, PROT_READ | PROT_WRITE), 0);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 16, at), IBV_WC_SUCCESS);
	/* The same on our own side: a local key. */
	munmap(memory + 4 * PAGE, 4 * PAGE);
	wire_refused(&wire, IBV_WR_RDMA_WRITE, (struct place){ (uintptr_t)memory + 4 * PAGE, mr->lkey }, 8,
		     (struct place){ (uintptr_t)rig->buffer, rig->mr->rkey }, IBV_WC_LOC_PROT_ERR);
	/* A region that is only read, of memory that may only be read. */
	CHECK(constant = ibv_reg_mr(rig->pd, memory, PAGE, ON_DEMAND | IBV_ACCESS_REMOTE_READ));
	EQUAL(mprotect(memory, PAGE, PROT_READ), 0);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_READ, good, 16, (struct place){ (uintptr_t)memory, constant->rkey }), IBV_WC_SUCCESS);
	EQUAL(ibv_dereg_mr(constant), 0);
	EQUAL(ibv_dereg_mr(mr), 0);
	/* All of a process's memory at once is not offered. */
	CHECK(!ibv_reg_mr(rig->pd, NULL, SIZE_MAX, ALL));
	CHECK(!ibv_reg_mr(rig->pd, memory, 0, ALL));
	CHECK(!ibv_reg_mr(rig->pd, memory, 1ull << 46, ALL));
	CHECK(!ibv_reg_mr(rig->pd, (void *)-(uintptr_t)PAGE, 2 * PAGE, ALL));
	wire_close(&wire);
	munmap(memory, 4 * PAGE);
}

/* Memory that the kernel itself cannot reach. Pinning it is refused; on demand, accesses are. */
static void secret(struct rig *rig)
{
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey }, at = { 0 };
	int fd = syscall(SYS_memfd_secret, 0);
	struct ibv_mr *mr;
	struct wire wire;
	uint8_t *memory;

	CHECK(fd >= 0);
	EQUAL(ftruncate(fd, 4 * PAGE), 0);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	/* Some of it there at the registration, some of it not. */
	memset(memory, 0x77, 2 * PAGE);
	CHECK(mr = ibv_reg_mr(rig->pd, memory, 4 * PAGE, ALL));
	wire_open(&wire, rig, rig->pd);
	for (int page = 0; page < 4; page++) {
		at = (struct place){ (uintptr_t)memory + page * PAGE, mr->rkey };
		wire_refused(&wire, IBV_WR_RDMA_READ, good, 16, at, IBV_WC_REM_ACCESS_ERR);
		wire_refused(&wire, IBV_WR_RDMA_WRITE, good, 16, at, IBV_WC_REM_ACCESS_ERR);
		at.key = mr->lkey;
		wire_refused(&wire, IBV_WR_RDMA_WRITE, at, 16, (struct place){ (uintptr_t)rig->buffer, rig->mr->rkey },
			     IBV_WC_LOC_PROT_ERR);
	}
	EQUAL(memory[PAGE], 0x77);
	wire_close(&wire);
	EQUAL(ibv_dereg_mr(mr), 0);
	munmap(memory, 4 * PAGE);
}

/* More than there is memory, nearly nothing of it used. */
static void sparse(struct rig *rig)
{
	const size_t length = 1ull << 30;
	uint8_t *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey };
	struct ibv_mr *mr;
	struct wire wire;

	CHECK(memory != MAP_FAILED);
	/* A huge page would bring its neighbours. A kernel that has none refuses. */
	madvise(memory, length, MADV_NOHUGEPAGE);
	CHECK(mr = ibv_reg_mr(rig->pd, memory, length, ALL));
	wire_open(&wire, rig, rig->pd);
	rig->buffer[0] = 0x42;
	for (int place = 64; place > 0; place--) {
		size_t at = length / 64 * place - 1;

		EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 1, (struct place){ (uintptr_t)memory + at, mr->rkey }), IBV_WC_SUCCESS);
		EQUAL(memory[at], 0x42);
		CHECK(!present(memory + at - PAGE));
	}
	wire_close(&wire);
	EQUAL(ibv_dereg_mr(mr), 0);
	munmap(memory, length);
}

/* After a fork a write is seen by the process that registered the memory, and by no other. */
static void forking(struct rig *rig)
{
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey };
	uint8_t *memory = map(PAGE, PROT_READ | PROT_WRITE);
	struct ibv_mr *mr = ibv_reg_mr(rig->pd, memory, PAGE, ALL);
	int go[2], status;
	struct wire wire;
	pid_t child;
	char byte = 0;

	CHECK(mr);
	wire_open(&wire, rig, rig->pd);
	memset(memory, 1, PAGE);
	memset(rig->buffer, 2, 8);
	EQUAL(pipe(go), 0);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		EQUAL(read(go[0], &byte, 1), 1);
		_exit(memory[0] == 1 ? 0 : 7);
	}
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, 8, (struct place){ (uintptr_t)memory, mr->rkey }), IBV_WC_SUCCESS);
	EQUAL(memory[7], 2);
	EQUAL(memory[8], 1);
	EQUAL(write(go[1], &byte, 1), 1);
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	wire_close(&wire);
	EQUAL(ibv_dereg_mr(mr), 0);
	munmap(memory, PAGE);
	close(go[0]);
	close(go[1]);
}

/* librxe has no such call, but the kernel has. */
static int advise(struct rig *rig, int advice, void *addr, uint32_t length, uint32_t lkey)
{
	struct ibv_sge sge = { (uintptr_t)addr, length, lkey };
	struct {
		struct ib_uverbs_ioctl_hdr header;
		struct ib_uverbs_attr attrs[4];
	} request = {
		.header = { .length = sizeof(request), .object_id = UVERBS_OBJECT_MR, .method_id = UVERBS_METHOD_ADVISE_MR, .num_attrs = 4,
			    .driver_id = RDMA_DRIVER_RXE },
		.attrs = {
			{ UVERBS_ATTR_ADVISE_MR_PD_HANDLE, 0, UVERBS_ATTR_F_MANDATORY, { { 0 } }, { rig->pd->handle } },
			{ UVERBS_ATTR_ADVISE_MR_ADVICE, 8, UVERBS_ATTR_F_MANDATORY, { { 0 } }, { advice } },
			{ UVERBS_ATTR_ADVISE_MR_FLAGS, 4, UVERBS_ATTR_F_MANDATORY, { { 0 } }, { IB_UVERBS_ADVISE_MR_FLAG_FLUSH } },
			{ UVERBS_ATTR_ADVISE_MR_SGE_LIST, sizeof(sge), UVERBS_ATTR_F_MANDATORY, { { 0 } }, { (uintptr_t)&sge } },
		},
	};

	return ioctl(rig->context->cmd_fd, RDMA_VERBS_IOCTL, &request) ? errno : 0;
}

static void prefetch(struct rig *rig)
{
	enum { FETCH = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH, FETCH_WRITE = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE,
	       LOOK = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT };
	uint8_t *memory = map(4 * PAGE, PROT_READ | PROT_WRITE);
	struct ibv_mr *mr = ibv_reg_mr(rig->pd, memory, 4 * PAGE, ALL);
	struct ibv_mr *constant = ibv_reg_mr(rig->pd, memory, PAGE, ON_DEMAND | IBV_ACCESS_REMOTE_READ);

	CHECK(mr && constant);
	EQUAL(madvise(memory, 4 * PAGE, MADV_DONTNEED), 0);
	CHECK(!present(memory) && !present(memory + PAGE));
	EQUAL(advise(rig, LOOK, memory, 4 * PAGE, mr->lkey), 0);
	CHECK(!present(memory));
	EQUAL(advise(rig, FETCH_WRITE, memory + PAGE + 5, PAGE, mr->lkey), 0);
	CHECK(!present(memory) && present(memory + PAGE) && present(memory + 2 * PAGE) && !present(memory + 3 * PAGE));
	EQUAL(advise(rig, FETCH, memory, 1, mr->lkey), 0);
	CHECK(present(memory));
	EQUAL(advise(rig, FETCH, memory, 4 * PAGE + 1, mr->lkey), EINVAL);
	EQUAL(advise(rig, FETCH, memory, PAGE, mr->lkey ^ 0x100), EINVAL);
	EQUAL(advise(rig, FETCH, rig->buffer, PAGE, rig->mr->lkey), EINVAL);
	EQUAL(advise(rig, FETCH_WRITE, memory, PAGE, constant->lkey), EPERM);
	EQUAL(advise(rig, 77, memory, PAGE, mr->lkey), EOPNOTSUPP);
	EQUAL(munmap(memory + 3 * PAGE, PAGE), 0);
	EQUAL(advise(rig, FETCH, memory, 4 * PAGE, mr->lkey), EFAULT);
	EQUAL(ibv_dereg_mr(mr), 0);
	EQUAL(ibv_dereg_mr(constant), 0);
	munmap(memory, 3 * PAGE);
}

static void *toss(void *data)
{
	for (;;)
		madvise(data, 16 * PAGE, MADV_DONTNEED);
	return NULL;
}

/* A process that is killed in the middle of it. */
static void killing(struct rig *rig)
{
	for (int round = 0; round < 25; round++) {
		pid_t child = fork();
		int status;

		CHECK(child >= 0);
		if (!child) {
			uint8_t *memory = map_file(32 * PAGE);
			struct ibv_mr *mr;
			struct rig own;
			struct wire wire;
			pthread_t thread;

			rig_open(&own, ibv_get_device_name(rig->context->device), rig->gid_index);
			wire_open(&wire, &own, own.pd);
			CHECK(mr = ibv_reg_mr(own.pd, memory, 32 * PAGE, ALL));
			EQUAL(pthread_create(&thread, NULL, toss, memory), 0);
			for (;;)
				EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, (struct place){ (uintptr_t)memory, mr->lkey }, 16 * PAGE,
						(struct place){ (uintptr_t)memory + 16 * PAGE, mr->rkey }),
				      IBV_WC_SUCCESS);
		}
		usleep(20000 + chance(80000));
		kill(child, SIGKILL);
		EQUAL(waitpid(child, &status, 0), child);
		EQUAL(WTERMSIG(status), SIGKILL);
	}
}

void test_odp(struct rig *rig)
{
	srandom(getpid());
	mappings(rig);
	secret(rig);
	sparse(rig);
	forking(rig);
	prefetch(rig);
	traffic(rig);
	killing(rig);
}
