// SPDX-License-Identifier: GPL-2.0-only
/* FLUSH: of a range, of a whole region however large, and not of what does not permit it. */
#include <sys/mman.h>

#include "memory.h"

enum {
	PAGE = 4096,
	LENGTH = 24 << 20,
	FLUSH = IBV_ACCESS_FLUSH_GLOBAL | IBV_ACCESS_FLUSH_PERSISTENT,
	ACCESS = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
};

/* A wire whose near end can post FLUSH, which only the newer way of posting knows. */
static void flush_open(struct wire *wire, struct rig *rig)
{
	struct ibv_qp_init_attr_ex attr = {
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = rig->pd,
		.send_ops_flags = IBV_QP_EX_WITH_FLUSH | IBV_QP_EX_WITH_RDMA_WRITE,
	};

	wire_open(wire, rig, rig->pd);
	EQUAL(ibv_destroy_qp(wire->from), 0);
	attr.send_cq = attr.recv_cq = wire->cq;
	attr.cap = (struct ibv_qp_cap){ .max_send_wr = 64, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1 };
	CHECK(wire->from = ibv_create_qp_ex(rig->context, &attr));
	wire_renew(wire);
}

static void post(struct wire *wire, struct place at, size_t length, uint8_t type, uint8_t level)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(wire->from);

	ibv_wr_start(qp);
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_flush(qp, at.key, at.addr, length, type, level);
	EQUAL(ibv_wr_complete(qp), 0);
}

static enum ibv_wc_status flush(struct wire *wire, struct place at, size_t length, uint8_t type, uint8_t level)
{
	post(wire, at, length, type, level);
	return rig_wait(wire->cq).status;
}

void test_flush(struct rig *rig)
{
	uint8_t *memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct place good = { (uintptr_t)rig->buffer, rig->mr->lkey }, at = { (uintptr_t)memory, 0 };
	struct ibv_mr *mr;
	struct wire wire;

	CHECK(memory != MAP_FAILED);
	flush_open(&wire, rig);
	/* Of ordinary memory that is pinned nobody can say that it is persistent. */
	CHECK(!ibv_reg_mr(rig->pd, memory, PAGE, ACCESS | FLUSH));
	CHECK(mr = ibv_reg_mr(rig->pd, memory, PAGE, ACCESS | IBV_ACCESS_FLUSH_GLOBAL));
	at.key = mr->rkey;
	EQUAL(flush(&wire, at, PAGE, IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE), IBV_WC_SUCCESS);
	EQUAL(flush(&wire, at, PAGE, IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE), IBV_WC_REM_ACCESS_ERR);
	wire_renew(&wire);
	EQUAL(flush(&wire, at, PAGE + 1, IBV_FLUSH_GLOBAL, IBV_FLUSH_RANGE), IBV_WC_REM_ACCESS_ERR);
	wire_renew(&wire);
	EQUAL(ibv_dereg_mr(mr), 0);

	CHECK(mr = ibv_reg_mr(rig->pd, memory, LENGTH, ACCESS | FLUSH | IBV_ACCESS_ON_DEMAND));
	at.key = mr->rkey;
	EQUAL(flush(&wire, at, 3, IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE), IBV_WC_SUCCESS);
	EQUAL(flush(&wire, at, LENGTH, IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE), IBV_WC_SUCCESS);
	/* More than is written back at once, by one request and by many; and what comes behind them. */
	for (int i = 0; i < 8; i++)
		post(&wire, at, 0, IBV_FLUSH_PERSISTENT | IBV_FLUSH_GLOBAL, IBV_FLUSH_MR);
	memset(rig->buffer, 0x66, PAGE);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, good, PAGE, at), IBV_WC_SUCCESS);
	for (int i = 0; i < 8; i++)
		EQUAL(rig_wait(wire.cq).status, IBV_WC_SUCCESS);
	EQUAL(memory[PAGE - 1], 0x66);
	/* Pages that have gone are fetched. */
	EQUAL(madvise(memory, LENGTH, MADV_DONTNEED), 0);
	EQUAL(flush(&wire, at, 0, IBV_FLUSH_PERSISTENT, IBV_FLUSH_MR), IBV_WC_SUCCESS);
	wire_close(&wire);
	EQUAL(ibv_dereg_mr(mr), 0);
	munmap(memory, LENGTH);
}
