// SPDX-License-Identifier: GPL-2.0-only
/* What a process is told about its queue pairs without asking: asynchronous events. */
#include "memory.h"

/* The next event is this one, about this queue pair. */
static void expect(struct rig *rig, struct ibv_qp *qp, enum ibv_event_type type)
{
	struct pollfd pollfd = { .fd = rig->context->async_fd, .events = POLLIN };
	struct ibv_async_event event;

	EQUAL(poll(&pollfd, 1, 2000), 1);
	EQUAL(ibv_get_async_event(rig->context, &event), 0);
	EQUAL(event.event_type, type);
	CHECK(event.element.qp == qp);
	ibv_ack_async_event(&event);
}

static void no_event(struct rig *rig)
{
	EQUAL(rig_async_event(rig, 100), -1);
}

static struct ibv_qp_attr query(struct ibv_qp *qp)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	EQUAL(ibv_query_qp(qp, &attr, IBV_QP_STATE, &init), 0);
	return attr;
}

static void go_to(struct ibv_qp *qp, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state };

	EQUAL(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
}

static void drain(struct ibv_qp *qp, bool notify)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_SQD, .en_sqd_async_notify = notify };

	EQUAL(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_EN_SQD_ASYNC_NOTIFY), 0);
}

struct pair {
	struct ibv_cq *cq, *small;
	struct ibv_srq *srq;
	struct ibv_qp *a, *b;
};

/* `b` takes from a shared receive queue if `shared`; completions of `a` or `b` go to a small queue on request. */
static struct pair connect_pair(struct rig *rig, bool shared, bool small_a, bool small_b)
{
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 63, .max_sge = 1 } };
	struct pair pair = {
		.cq = ibv_create_cq(rig->context, 200, NULL, NULL, 0),
		.small = ibv_create_cq(rig->context, 3, NULL, NULL, 0),
		.srq = shared ? ibv_create_srq(rig->pd, &init) : NULL,
	};
	struct ibv_cq *for_a = small_a ? pair.small : pair.cq, *for_b = small_b ? pair.small : pair.cq;

	CHECK(pair.cq && pair.small && (pair.srq || !shared));
	pair.a = rig_qp(rig, IBV_QPT_RC, for_a, for_a, NULL);
	pair.b = rig_qp(rig, IBV_QPT_RC, for_b, for_b, pair.srq);
	rig_ready(rig, pair.a, pair.b);
	rig_ready(rig, pair.b, pair.a);
	return pair;
}

static void destroy_pair(struct pair *pair)
{
	EQUAL(ibv_destroy_qp(pair->a), 0);
	EQUAL(ibv_destroy_qp(pair->b), 0);
	if (pair->srq)
		EQUAL(ibv_destroy_srq(pair->srq), 0);
	EQUAL(ibv_destroy_cq(pair->small), 0);
	EQUAL(ibv_destroy_cq(pair->cq), 0);
}

/* A completion that finds no room: the queue is in error, and so is the queue pair, whichever half it was. */
static void overrun(struct rig *rig, bool receives)
{
	struct pair pair = connect_pair(rig, false, !receives, receives);
	struct ibv_qp *qp = receives ? pair.b : pair.a;

	for (int i = 0; i < 10; i++)
		EQUAL(rig_recv(rig, pair.b, i), 0);
	for (int i = 0; i < 10; i++)
		EQUAL(rig_send(rig, pair.a, i, IBV_SEND_SIGNALED), 0);
	EQUAL(rig_async_event(rig, 2000), IBV_EVENT_CQ_ERR);
	expect(rig, qp, IBV_EVENT_QP_FATAL);
	no_event(rig);
	EQUAL(query(qp).qp_state, IBV_QPS_ERR);
	destroy_pair(&pair);
}

/* Who is asked for what it does not permit is told, as no completion of its own can say it. Who asks has a completion. */
static void refused(struct rig *rig)
{
	struct place here = { (uintptr_t)rig->buffer, rig->mr->lkey };
	struct place wrong = { here.addr + 4096, rig->mr->rkey ^ 0x100 };
	struct place there = { wrong.addr, rig->mr->rkey };
	struct wire wire;

	wire_open(&wire, rig, rig->pd);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, here, 64, wrong), IBV_WC_REM_ACCESS_ERR);
	expect(rig, wire.to, IBV_EVENT_QP_ACCESS_ERR);
	no_event(rig);
	EQUAL(query(wire.to).qp_state, IBV_QPS_ERR);
	wire_renew(&wire);
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_READ, here, 64, wrong), IBV_WC_REM_ACCESS_ERR);
	expect(rig, wire.to, IBV_EVENT_QP_ACCESS_ERR);
	no_event(rig);

	/* The key is right, the queue pair permits no writes. */
	wire_renew(&wire);
	{
		struct ibv_qp_attr attr = { .qp_access_flags = 0 };

		EQUAL(ibv_modify_qp(wire.to, &attr, IBV_QP_ACCESS_FLAGS), 0);
	}
	EQUAL(wire_rdma(&wire, IBV_WR_RDMA_WRITE, here, 64, there), IBV_WC_REM_INV_REQ_ERR);
	expect(rig, wire.to, IBV_EVENT_QP_REQ_ERR);
	no_event(rig);
	wire_close(&wire);
}

/* From a shared receive queue nothing is flushed; the event says that nothing more is taken. Once in each life. */
static void last_receive(struct rig *rig)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1 };
	struct pair pair = connect_pair(rig, true, false, false);

	EQUAL(rig_srq_recv(rig, pair.srq, 1), 0);
	go_to(pair.b, IBV_QPS_ERR);
	expect(rig, pair.b, IBV_EVENT_QP_LAST_WQE_REACHED);
	go_to(pair.b, IBV_QPS_ERR);
	/* It has none of its own. */
	go_to(pair.a, IBV_QPS_ERR);
	no_event(rig);
	go_to(pair.b, IBV_QPS_RESET);
	EQUAL(ibv_modify_qp(pair.b, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS), 0);
	no_event(rig);
	go_to(pair.b, IBV_QPS_ERR);
	expect(rig, pair.b, IBV_EVENT_QP_LAST_WQE_REACHED);
	no_event(rig);
	rig_quiet(pair.cq);
	destroy_pair(&pair);
}

/* Draining ends what has begun, and says so to who asks for it, each time anew. */
static void drained(struct rig *rig)
{
	struct pair pair = connect_pair(rig, false, false, false);

	/* Begun, and waits for a receive. */
	EQUAL(rig_send(rig, pair.a, 1, IBV_SEND_SIGNALED), 0);
	drain(pair.a, true);
	no_event(rig);
	EQUAL(query(pair.a).sq_draining, 1);
	/* Posted now, it waits for the next RTS. */
	EQUAL(rig_send(rig, pair.a, 2, IBV_SEND_SIGNALED), 0);
	EQUAL(rig_recv(rig, pair.b, 11), 0);
	EQUAL(rig_recv(rig, pair.b, 12), 0);
	expect(rig, pair.a, IBV_EVENT_SQ_DRAINED);
	no_event(rig);
	EQUAL(query(pair.a).sq_draining, 0);
	for (int i = 0; i < 2; i++)
		EQUAL(rig_wait(pair.cq).wr_id % 10, 1);
	rig_quiet(pair.cq);
	go_to(pair.a, IBV_QPS_RTS);
	for (int i = 0; i < 2; i++)
		EQUAL(rig_wait(pair.cq).wr_id % 10, 2);

	/* Not asked for: not told. */
	drain(pair.a, false);
	no_event(rig);
	go_to(pair.a, IBV_QPS_RTS);
	/* Nothing to do: told at once. */
	drain(pair.a, true);
	expect(rig, pair.a, IBV_EVENT_SQ_DRAINED);
	go_to(pair.a, IBV_QPS_RTS);
	/* It was asked for then, not now. */
	go_to(pair.a, IBV_QPS_SQD);
	no_event(rig);
	EQUAL(query(pair.a).qp_state, IBV_QPS_SQD);
	EQUAL(query(pair.a).sq_draining, 0);
	destroy_pair(&pair);
}

void test_qp(struct rig *rig)
{
	overrun(rig, false);
	overrun(rig, true);
	refused(rig);
	last_receive(rig);
	drained(rig);
}
