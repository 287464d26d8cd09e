// SPDX-License-Identifier: GPL-2.0-only
#include "rig.h"

static struct ibv_srq *create(struct rig *rig, int wr)
{
	struct ibv_srq_init_attr init = { .attr = { .max_wr = wr, .max_sge = 1 } };

	return ibv_create_srq(rig->pd, &init);
}

static int resize(struct ibv_srq *srq, int wr)
{
	struct ibv_srq_attr attr = { .max_wr = wr };

	return ibv_modify_srq(srq, &attr, IBV_SRQ_MAX_WR);
}

static int limit(struct ibv_srq *srq, int entries)
{
	struct ibv_srq_attr attr = { .srq_limit = entries };

	return ibv_modify_srq(srq, &attr, IBV_SRQ_LIMIT);
}

static struct ibv_srq_attr query(struct ibv_srq *srq)
{
	struct ibv_srq_attr attr;

	EQUAL(ibv_query_srq(srq, &attr), 0);
	return attr;
}

static void refusals(struct rig *rig)
{
	struct ibv_device_attr device;
	struct ibv_srq *srq;

	EQUAL(ibv_query_device(rig->context, &device), 0);
	CHECK(!create(rig, 0));
	CHECK(!create(rig, device.max_srq_wr + 1));
	CHECK(srq = create(rig, 10));
	EQUAL(query(srq).max_wr, 15);
	EQUAL(query(srq).max_sge, 1);
	EQUAL(limit(srq, 16), EINVAL);
	EQUAL(limit(srq, 15), 0);
	EQUAL(query(srq).srq_limit, 15);
	EQUAL(resize(srq, 14), EINVAL);
	EQUAL(resize(srq, 0), EINVAL);
	EQUAL(resize(srq, device.max_srq_wr + 1), EINVAL);
	EQUAL(resize(srq, 31), 0);
	EQUAL(query(srq).max_wr, 31);
	EQUAL(ibv_destroy_srq(srq), 0);
}

struct user {
	struct ibv_cq *send_cq, *recv_cq;
	struct ibv_srq *srq;
	struct ibv_qp *from, *to;
	uint64_t next;
};

static void connect_user(struct rig *rig, struct user *user)
{
	*user = (struct user){
		.send_cq = ibv_create_cq(rig->context, 500, NULL, NULL, 0),
		.recv_cq = ibv_create_cq(rig->context, 500, NULL, NULL, 0),
		.srq = create(rig, 63),
	};
	user->from = rig_qp(rig, IBV_QPT_RC, user->send_cq, user->send_cq, NULL);
	user->to = rig_qp(rig, IBV_QPT_RC, user->recv_cq, user->recv_cq, user->srq);
	rig_ready(rig, user->from, user->to);
	rig_ready(rig, user->to, user->from);
}

static void destroy_user(struct user *user)
{
	EQUAL(ibv_destroy_qp(user->from), 0);
	EQUAL(ibv_destroy_qp(user->to), 0);
	EQUAL(ibv_destroy_srq(user->srq), 0);
	EQUAL(ibv_destroy_cq(user->send_cq), 0);
	EQUAL(ibv_destroy_cq(user->recv_cq), 0);
}

/* Sends `count` messages; they take the requests in order. */
static void take(struct rig *rig, struct user *user, int count)
{
	for (int i = 0; i < count; i++) {
		struct ibv_wc wc;

		EQUAL(rig_send(rig, user->from, 0, IBV_SEND_SIGNALED), 0);
		wc = rig_wait(user->recv_cq);
		EQUAL(wc.status, IBV_WC_SUCCESS);
		EQUAL(wc.wr_id, user->next++);
		EQUAL(rig_wait(user->send_cq).status, IBV_WC_SUCCESS);
	}
}

/* One event per arming, when fewer than the limit are left. */
static void limit_event(struct rig *rig)
{
	struct user user;

	connect_user(rig, &user);
	for (int i = 0; i < 10; i++)
		EQUAL(rig_srq_recv(rig, user.srq, i), 0);
	EQUAL(limit(user.srq, 5), 0);
	take(rig, &user, 5);
	EQUAL(rig_async_event(rig, 100), -1);
	take(rig, &user, 1);
	EQUAL(rig_async_event(rig, 1000), IBV_EVENT_SRQ_LIMIT_REACHED);
	EQUAL(query(user.srq).srq_limit, 0);
	take(rig, &user, 2);
	EQUAL(rig_async_event(rig, 100), -1);
	EQUAL(limit(user.srq, 2), 0);
	take(rig, &user, 1);
	EQUAL(rig_async_event(rig, 1000), IBV_EVENT_SRQ_LIMIT_REACHED);
	destroy_user(&user);
}

/* Nothing posted, nothing taken: it is resized as often as one likes, and works after that. */
static void resize_idle(struct rig *rig)
{
	struct user user;

	connect_user(rig, &user);
	for (int i = 0; i < 20; i++)
		EQUAL(resize(user.srq, i % 2 ? 63 : 200), 0);
	EQUAL(rig_srq_recv(rig, user.srq, 0), 0);
	take(rig, &user, 1);
	/* The same after it was used. */
	for (int i = 0; i < 20; i++)
		EQUAL(resize(user.srq, i % 2 ? 63 : 200), 0);
	destroy_user(&user);
}

/* Requests in the old ring are taken first, however often it is resized. */
static void resize_with_requests(struct rig *rig)
{
	int sizes[] = { 100, 40, 300, 50, 1000, 60, 40 };
	struct user user;
	int posted = 0;

	connect_user(rig, &user);
	for (int i = 0; i < 7; i++) {
		for (int j = 0; j < 5; j++)
			EQUAL(rig_srq_recv(rig, user.srq, posted++), 0);
		EQUAL(resize(user.srq, sizes[i]), 0);
	}
	/* Too many rings that still hold requests; no room for those there are. */
	EQUAL(resize(user.srq, 100), EBUSY);
	EQUAL(resize(user.srq, 30), EINVAL);
	take(rig, &user, posted);
	for (int i = 0; i < 3; i++) {
		EQUAL(rig_srq_recv(rig, user.srq, posted++), 0);
		take(rig, &user, 1);
		EQUAL(resize(user.srq, 63 << i), 0);
	}
	rig_quiet(user.recv_cq);
	destroy_user(&user);
}

void test_srq(struct rig *rig)
{
	refusals(rig);
	limit_event(rig);
	resize_idle(rig);
	resize_with_requests(rig);
}
