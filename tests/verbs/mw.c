// SPDX-License-Identifier: GPL-2.0-only
/* Memory windows: what they let through, whom, until when; and that a region stays as long as one is bound to it. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "memory.h"

enum {
	PAGE = 4096,
	WRITE = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
	BINDABLE = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND,
};

struct ground {
	struct rig *rig;
	uint8_t *memory;
	struct ibv_mr *mr;
	struct place good;
	struct wire wire;
};

static void ground_open(struct ground *ground, struct rig *rig)
{
	*ground = (struct ground){ .rig = rig, .memory = map(4 * PAGE, PROT_READ | PROT_WRITE) };
	CHECK(ground->mr = ibv_reg_mr(rig->pd, ground->memory, 4 * PAGE, BINDABLE));
	ground->good = (struct place){ (uintptr_t)rig->buffer, rig->mr->lkey };
	wire_open(&ground->wire, rig, rig->pd);
}

static void ground_close(struct ground *ground)
{
	wire_close(&ground->wire);
	EQUAL(ibv_dereg_mr(ground->mr), 0);
	munmap(ground->memory, 4 * PAGE);
}

/* Binds through the queue pair whose memory it is; returns the status. */
static enum ibv_wc_status bind1(struct ground *ground, struct ibv_mw *mw, struct ibv_mr *mr, uint64_t offset, uint64_t length, int access)
{
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = { .mr = mr, .addr = (uintptr_t)ground->memory + offset, .length = length, .mw_access_flags = access },
	};

	EQUAL(ibv_bind_mw(ground->wire.to, mw, &bind), 0);
	return rig_wait(ground->wire.cq).status;
}

static enum ibv_wc_status bind2(struct ground *ground, struct ibv_mw *mw, struct ibv_mr *mr, uint32_t rkey, uint64_t addr, uint64_t length,
				int access)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_mw = { .mw = mw, .rkey = rkey, .bind_info = { mr, addr, length, access } },
	}, *bad;
	enum ibv_wc_status status;

	EQUAL(ibv_post_send(ground->wire.to, &wr, &bad), 0);
	status = rig_wait(ground->wire.cq).status;
	/* The next bind has to name the key of this one. */
	if (status == IBV_WC_SUCCESS)
		mw->rkey = rkey;
	return status;
}

static enum ibv_wc_status invalidate(struct ground *ground, uint32_t rkey)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_LOCAL_INV, .send_flags = IBV_SEND_SIGNALED, .invalidate_rkey = rkey }, *bad;

	EQUAL(ibv_post_send(ground->wire.to, &wr, &bad), 0);
	return rig_wait(ground->wire.cq).status;
}

static struct place in(struct ground *ground, uint64_t offset, uint32_t rkey)
{
	return (struct place){ (uintptr_t)ground->memory + offset, rkey };
}

static void refused(struct ground *ground, enum ibv_wr_opcode opcode, uint32_t length, struct place at)
{
	wire_refused(&ground->wire, opcode, ground->good, length, at, IBV_WC_REM_ACCESS_ERR);
}

static void taken(struct ground *ground, enum ibv_wr_opcode opcode, uint32_t length, struct place at)
{
	EQUAL(wire_rdma(&ground->wire, opcode, ground->good, length, at), IBV_WC_SUCCESS);
}

static void type1(struct rig *rig)
{
	struct ground ground;
	struct ibv_mw *mw;
	uint32_t first;

	ground_open(&ground, rig);
	CHECK(mw = ibv_alloc_mw(rig->pd, IBV_MW_TYPE_1));
	refused(&ground, IBV_WR_RDMA_WRITE, 1, in(&ground, 0, mw->rkey));
	EQUAL(bind1(&ground, mw, ground.mr, 1000, PAGE, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	first = mw->rkey;
	taken(&ground, IBV_WR_RDMA_WRITE, PAGE, in(&ground, 1000, first));
	CHECK(!memcmp(ground.memory + 1000, rig->buffer, PAGE));
	refused(&ground, IBV_WR_RDMA_WRITE, 1, in(&ground, 999, first));
	refused(&ground, IBV_WR_RDMA_WRITE, PAGE + 1, in(&ground, 1000, first));
	refused(&ground, IBV_WR_RDMA_READ, 1, in(&ground, 1000, first));
	refused(&ground, IBV_WR_RDMA_WRITE, 1, in(&ground, 1000, ground.mr->rkey));
	/* The window's key is for others. */
	wire_refused(&ground.wire, IBV_WR_RDMA_READ, in(&ground, 1000, first), 1, ground.good, IBV_WC_LOC_PROT_ERR);

	/* The region stays as long as the window is bound. */
	CHECK(ibv_dereg_mr(ground.mr));
	taken(&ground, IBV_WR_RDMA_WRITE, 8, in(&ground, 1000, first));
	/* Bound anew: the old key is nothing any more. */
	EQUAL(bind1(&ground, mw, ground.mr, 0, 100, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	CHECK(mw->rkey != first);
	refused(&ground, IBV_WR_RDMA_WRITE, 1, in(&ground, 1000, first));
	taken(&ground, IBV_WR_RDMA_READ, 100, in(&ground, 0, mw->rkey));
	/* Bound to nothing. */
	EQUAL(bind1(&ground, mw, ground.mr, 0, 0, 0), IBV_WC_SUCCESS);
	refused(&ground, IBV_WR_RDMA_READ, 1, in(&ground, 0, mw->rkey));
	EQUAL(bind1(&ground, mw, ground.mr, 0, 100, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	CHECK(ibv_dereg_mr(ground.mr));
	EQUAL(ibv_dealloc_mw(mw), 0);
	ground_close(&ground);
}

/* Binds that break a rule. */
static void illegal(struct rig *rig)
{
	struct ibv_mr *fixed = NULL, *constant = NULL;
	struct ground ground;
	struct ibv_mw *mw;

	ground_open(&ground, rig);
	CHECK(fixed = ibv_reg_mr(rig->pd, ground.memory, PAGE, WRITE));
	CHECK(constant = ibv_reg_mr(rig->pd, ground.memory, PAGE, IBV_ACCESS_MW_BIND | IBV_ACCESS_REMOTE_READ));
	struct {
		struct ibv_mr *mr;
		uint64_t offset, length;
		int access;
	} bad[] = {
		{ fixed, 0, 8, IBV_ACCESS_REMOTE_READ },		 /* does not permit windows */
		{ constant, 0, 8, IBV_ACCESS_REMOTE_WRITE },		 /* a window that writes on what may not be written */
		{ ground.mr, 4 * PAGE - 7, 8, IBV_ACCESS_REMOTE_READ },	 /* beyond the end */
		{ ground.mr, -(uint64_t)1, 8, IBV_ACCESS_REMOTE_READ },	 /* before the beginning */
		{ ground.mr, 0, UINT64_MAX, IBV_ACCESS_REMOTE_READ },	 /* around */
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK(mw = ibv_alloc_mw(rig->pd, IBV_MW_TYPE_2));
		EQUAL(bind2(&ground, mw, bad[i].mr, ibv_inc_rkey(mw->rkey), (uintptr_t)ground.memory + bad[i].offset, bad[i].length, bad[i].access),
		      IBV_WC_MW_BIND_ERR);
		wire_renew(&ground.wire);
		EQUAL(ibv_dealloc_mw(mw), 0);
	}
	CHECK(!ibv_alloc_mw(rig->pd, 3));
	EQUAL(ibv_dereg_mr(fixed), 0);
	EQUAL(ibv_dereg_mr(constant), 0);
	ground_close(&ground);
}

static void type2(struct rig *rig)
{
	struct ground ground;
	struct ibv_mw *mw;
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND_WITH_INV, .num_sge = 0 };
	struct wire other;
	uint32_t key;

	ground_open(&ground, rig);
	wire_open(&other, rig, rig->pd);
	CHECK(mw = ibv_alloc_mw(rig->pd, IBV_MW_TYPE_2));
	key = ibv_inc_rkey(mw->rkey);
	EQUAL(bind2(&ground, mw, ground.mr, key, (uintptr_t)ground.memory + 8, 8, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	taken(&ground, IBV_WR_RDMA_WRITE, 8, in(&ground, 8, key));
	CHECK(!memcmp(ground.memory + 8, rig->buffer, 8));
	/* It is this queue pair's alone. */
	wire_refused(&other, IBV_WR_RDMA_WRITE, ground.good, 8, in(&ground, 8, key), IBV_WC_REM_ACCESS_ERR);
	CHECK(ibv_dereg_mr(ground.mr));
	EQUAL(invalidate(&ground, key), IBV_WC_SUCCESS);
	refused(&ground, IBV_WR_RDMA_WRITE, 8, in(&ground, 8, key));

	/* Zero-based: addresses count from the window's start. */
	key = ibv_inc_rkey(key);
	EQUAL(bind2(&ground, mw, ground.mr, key, (uintptr_t)ground.memory + 100, 50, IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_ZERO_BASED),
	      IBV_WC_SUCCESS);
	memset(rig->buffer, 0x77, 50);
	taken(&ground, IBV_WR_RDMA_WRITE, 50, (struct place){ 0, key });
	CHECK(!memcmp(ground.memory + 100, rig->buffer, 50));
	refused(&ground, IBV_WR_RDMA_WRITE, 1, (struct place){ 50, key });
	refused(&ground, IBV_WR_RDMA_WRITE, 1, in(&ground, 100, key));

	/* The peer invalidates it. */
	EQUAL(rig_recv(rig, ground.wire.to, 1), 0);
	wr.invalidate_rkey = key;
	wr.send_flags = IBV_SEND_SIGNALED;
	EQUAL(wire_post(&ground.wire, &wr), IBV_WC_SUCCESS);
	EQUAL(rig_wait(ground.wire.cq).status, IBV_WC_SUCCESS);
	refused(&ground, IBV_WR_RDMA_WRITE, 1, (struct place){ 0, key });

	/* Deallocated while bound. */
	key = ibv_inc_rkey(key);
	EQUAL(bind2(&ground, mw, ground.mr, key, (uintptr_t)ground.memory, 8, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
	taken(&ground, IBV_WR_RDMA_WRITE, 8, in(&ground, 0, key));
	EQUAL(ibv_dealloc_mw(mw), 0);
	refused(&ground, IBV_WR_RDMA_WRITE, 8, in(&ground, 0, key));
	wire_close(&other);
	ground_close(&ground);
}

struct rebinding {
	struct ground *ground;
	struct ibv_mw *mw;
	int rounds, taken, refused;
};

static void *write_through(void *data)
{
	struct rebinding *state = data;
	struct rig *rig = state->ground->rig;
	struct wire wire;

	/* Some keys are right when they arrive, some are not any more: neither may hurt. */
	wire_open(&wire, rig, rig->pd);
	for (int i = 0; i < state->rounds; i++) {
		uint64_t at = (uintptr_t)state->ground->memory + (i % 2 ? 0 : 2 * PAGE);
		enum ibv_wc_status status = wire_rdma(&wire, IBV_WR_RDMA_WRITE, state->ground->good, PAGE,
						      (struct place){ at, *(volatile uint32_t *)&state->mw->rkey });

		if (status == IBV_WC_SUCCESS) {
			state->taken++;
		} else {
			EQUAL(status, IBV_WC_REM_ACCESS_ERR);
			state->refused++;
			wire_renew(&wire);
		}
	}
	wire_close(&wire);
	return NULL;
}

/* A window that is bound to one half, then the other, while others write: never into the half it is not bound to. */
static void rebind_under_traffic(struct rig *rig)
{
	struct ground ground;
	struct rebinding state = { &ground, NULL, 150, 0, 0 };
	pthread_t thread;

	ground_open(&ground, rig);
	memset(rig->buffer, 0xcc, PAGE);
	CHECK(state.mw = ibv_alloc_mw(rig->pd, IBV_MW_TYPE_1));
	EQUAL(pthread_create(&thread, NULL, write_through, &state), 0);
	for (int i = 0; i < 150; i++) {
		uint64_t half = i % 2 ? 0 : 2 * PAGE, other = 2 * PAGE - half;

		EQUAL(bind1(&ground, state.mw, ground.mr, half, PAGE, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
		/* What was under way to the other half is over. */
		memset(ground.memory + other, 0x33, PAGE);
		usleep(500);
		for (int j = 0; j < PAGE; j++)
			EQUAL(ground.memory[other + j], 0x33);
	}
	EQUAL(pthread_join(thread, NULL), 0);
	CHECK(state.taken && state.refused);
	EQUAL(ibv_dealloc_mw(state.mw), 0);
	ground_close(&ground);
}

/* A process that ends with windows bound leaves nothing behind: the scenario sees that the module can be unloaded. */
static void leave_everything(struct rig *rig)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		struct rig own;
		struct ground ground;
		struct ibv_mw *mw[20];

		rig_open(&own, ibv_get_device_name(rig->context->device), rig->gid_index);
		ground_open(&ground, &own);
		for (int i = 0; i < 20; i++) {
			CHECK(mw[i] = ibv_alloc_mw(own.pd, i % 2 ? IBV_MW_TYPE_1 : IBV_MW_TYPE_2));
			if (i % 2)
				EQUAL(bind1(&ground, mw[i], ground.mr, i, 8, IBV_ACCESS_REMOTE_WRITE), IBV_WC_SUCCESS);
			else
				EQUAL(bind2(&ground, mw[i], ground.mr, ibv_inc_rkey(mw[i]->rkey), (uintptr_t)ground.memory, 8,
					    IBV_ACCESS_REMOTE_READ),
				      IBV_WC_SUCCESS);
		}
		_exit(0);
	}
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
}

void test_mw(struct rig *rig)
{
	type1(rig);
	illegal(rig);
	type2(rig);
	rebind_under_traffic(rig);
	leave_everything(rig);
}
