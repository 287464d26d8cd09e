// SPDX-License-Identifier: GPL-2.0-only
#include "rig.h"

enum { MANY = 300 };

void test_ah(struct rig *rig)
{
	struct ibv_cq *cq = ibv_create_cq(rig->context, 200, NULL, NULL, 0);
	struct ibv_qp *from = rig_qp(rig, IBV_QPT_UD, cq, cq, NULL), *to = rig_qp(rig, IBV_QPT_UD, cq, cq, NULL);
	struct ibv_pd *other_pd = ibv_alloc_pd(rig->context);
	struct ibv_ah_attr bad = { .is_global = 1, .port_num = 1, .grh = { .dgid = rig->gid, .sgid_index = 200, .hop_limit = 64 } };
	struct ibv_ah *ah = rig_ah(rig, rig->pd, &rig->gid), *foreign = rig_ah(rig, other_pd, &rig->gid), *many[MANY];
	struct ibv_wc wc;

	CHECK(ah && foreign);
	/* No such GID; no network addresses at all. */
	CHECK(!ibv_create_ah(rig->pd, &bad));
	bad.is_global = 0;
	CHECK(!ibv_create_ah(rig->pd, &bad));
	rig_ready(rig, from, NULL);
	rig_ready(rig, to, NULL);

	EQUAL(rig_recv(rig, to, 7), 0);
	EQUAL(rig_send_ud(rig, from, 8, ah, to->qp_num), 0);
	for (int seen = 0; seen < 2; seen++) {
		wc = rig_wait(cq);
		EQUAL(wc.status, IBV_WC_SUCCESS);
		if (wc.opcode == IBV_WC_RECV) {
			EQUAL(wc.wr_id, 7);
			EQUAL(wc.src_qp, from->qp_num);
			EQUAL(wc.byte_len, 64 + 40);
			EQUAL(wc.wc_flags & IBV_WC_GRH, IBV_WC_GRH);
		} else {
			EQUAL(wc.wr_id, 8);
		}
	}
	/* Handles come and go without end. */
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++)
			CHECK(many[i] = rig_ah(rig, rig->pd, &rig->gid));
		for (int i = 0; i < MANY; i++)
			EQUAL(ibv_destroy_ah(many[i]), 0);
	}
	/* The handle of another protection domain leads nowhere. */
	EQUAL(rig_send_ud(rig, from, 9, foreign, to->qp_num), 0);
	wc = rig_wait(cq);
	EQUAL(wc.wr_id, 9);
	EQUAL(wc.status, IBV_WC_LOC_QP_OP_ERR);

	EQUAL(ibv_destroy_ah(ah), 0);
	EQUAL(ibv_destroy_ah(foreign), 0);
	EQUAL(ibv_destroy_qp(from), 0);
	EQUAL(ibv_destroy_qp(to), 0);
	EQUAL(ibv_dealloc_pd(other_pd), 0);
	EQUAL(ibv_destroy_cq(cq), 0);
}
