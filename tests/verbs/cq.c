// SPDX-License-Identifier: GPL-2.0-only
#include <pthread.h>
#include <stdatomic.h>

#include "rig.h"

struct pair {
	struct ibv_qp *a, *b;
};

static struct pair connect_pair(struct rig *rig, struct ibv_cq *a_cq, struct ibv_cq *b_cq)
{
	struct pair pair = {
		.a = rig_qp(rig, IBV_QPT_RC, a_cq, a_cq, NULL),
		.b = rig_qp(rig, IBV_QPT_RC, b_cq, b_cq, NULL),
	};

	rig_ready(rig, pair.a, pair.b);
	rig_ready(rig, pair.b, pair.a);
	return pair;
}

static void destroy_pair(struct pair *pair)
{
	EQUAL(ibv_destroy_qp(pair->a), 0);
	EQUAL(ibv_destroy_qp(pair->b), 0);
}

static void limits(struct rig *rig)
{
	struct ibv_device_attr attr;
	struct ibv_cq *cq;

	EQUAL(ibv_query_device(rig->context, &attr), 0);
	CHECK(!ibv_create_cq(rig->context, attr.max_cqe + 1, NULL, NULL, 0));
	CHECK(cq = ibv_create_cq(rig->context, attr.max_cqe, NULL, NULL, 0));
	CHECK(cq->cqe >= attr.max_cqe);
	CHECK(ibv_resize_cq(cq, attr.max_cqe + 1));
	EQUAL(ibv_destroy_cq(cq), 0);
}

/* Unread completions survive a resize, in order; one that has no room for them is refused. */
static void resize(struct rig *rig)
{
	struct ibv_cq *cq = ibv_create_cq(rig->context, 30, NULL, NULL, 0);
	struct ibv_cq *other = ibv_create_cq(rig->context, 63, NULL, NULL, 0);
	struct pair pair = connect_pair(rig, cq, other);
	int next = 0;

	for (int round = 0; round < 20; round++) {
		int sizes[] = { 100, 30, 7, 1000 }, size = sizes[round % 4];

		for (int i = 0; i < 10; i++) {
			EQUAL(rig_recv(rig, pair.b, round), 0);
			EQUAL(rig_send(rig, pair.a, 10 * round + i, IBV_SEND_SIGNALED), 0);
			rig_wait(other);
		}
		usleep(20000);
		if (size < 10)
			EQUAL(ibv_resize_cq(cq, size), EINVAL);
		else
			EQUAL(ibv_resize_cq(cq, size), 0);
		for (int i = 0; i < 10; i++) {
			struct ibv_wc wc = rig_wait(cq);

			EQUAL(wc.status, IBV_WC_SUCCESS);
			EQUAL(wc.wr_id, next++);
		}
	}
	rig_quiet(cq);
	destroy_pair(&pair);
	EQUAL(ibv_destroy_cq(cq), 0);
	EQUAL(ibv_destroy_cq(other), 0);
}

struct resizer {
	struct ibv_cq *cq;
	atomic_bool stop;
	unsigned long times;
};

static void *resize_again(void *data)
{
	struct resizer *resizer = data;
	unsigned int seed = 1;

	for (; !resizer->stop; resizer->times++) {
		/* Too small for what is in it may be refused, nothing else. */
		int error = ibv_resize_cq(resizer->cq, 40 + rand_r(&seed) % 400);

		CHECK(!error || error == EINVAL);
		usleep(rand_r(&seed) % 500);
	}
	return NULL;
}

/* While completions come and are taken, the queue becomes another one all the time: each comes once, in order. */
static void resize_under_traffic(struct rig *rig)
{
	enum { MESSAGES = 4000, AHEAD = 16 };
	struct ibv_cq *cq = ibv_create_cq(rig->context, 100, NULL, NULL, 0);
	struct pair pair = connect_pair(rig, cq, cq);
	struct resizer resizer = { .cq = cq };
	int posted = 0, received = 0, sent = 0;
	pthread_t thread;

	EQUAL(pthread_create(&thread, NULL, resize_again, &resizer), 0);
	while (received < MESSAGES || sent < MESSAGES) {
		struct ibv_wc wc;

		for (; posted < MESSAGES && posted < received + AHEAD && posted < sent + AHEAD; posted++) {
			EQUAL(rig_recv(rig, pair.b, 2 * posted), 0);
			EQUAL(rig_send(rig, pair.a, 2 * posted + 1, IBV_SEND_SIGNALED), 0);
		}
		wc = rig_wait(cq);
		EQUAL(wc.status, IBV_WC_SUCCESS);
		if (wc.wr_id % 2)
			EQUAL(wc.wr_id / 2, sent++);
		else
			EQUAL(wc.wr_id / 2, received++);
	}
	resizer.stop = true;
	EQUAL(pthread_join(thread, NULL), 0);
	CHECK(resizer.times > 10);
	rig_quiet(cq);
	destroy_pair(&pair);
	EQUAL(ibv_destroy_cq(cq), 0);
}

static void notify(struct rig *rig)
{
	struct ibv_comp_channel *channel = ibv_create_comp_channel(rig->context);
	struct ibv_cq *cq = ibv_create_cq(rig->context, 100, NULL, channel, 0);
	struct ibv_cq *send_cq = ibv_create_cq(rig->context, 100, NULL, NULL, 0);
	struct pair pair = connect_pair(rig, send_cq, cq);
	struct ibv_qp_attr error = { .qp_state = IBV_QPS_ERR };

	for (int i = 0; i < 20; i++)
		EQUAL(rig_recv(rig, pair.b, i), 0);

	/* Not armed: nothing. Arming does not look back. */
	EQUAL(rig_send(rig, pair.a, 0, 0), 0);
	rig_wait(cq);
	CHECK(!rig_completion_event(channel, 100));
	EQUAL(ibv_req_notify_cq(cq, 0), 0);
	CHECK(!rig_completion_event(channel, 100));
	/* Armed: one event, however many completions. */
	for (int i = 0; i < 3; i++)
		EQUAL(rig_send(rig, pair.a, 0, 0), 0);
	CHECK(rig_completion_event(channel, 1000));
	CHECK(!rig_completion_event(channel, 100));
	for (int i = 0; i < 3; i++)
		rig_wait(cq);
	/* Armed for solicited ones: a plain one does not count. */
	EQUAL(ibv_req_notify_cq(cq, 1), 0);
	EQUAL(rig_send(rig, pair.a, 0, 0), 0);
	rig_wait(cq);
	CHECK(!rig_completion_event(channel, 100));
	EQUAL(rig_send(rig, pair.a, 0, IBV_SEND_SOLICITED), 0);
	CHECK(rig_completion_event(channel, 1000));
	rig_wait(cq);
	/* Armed for solicited ones, then for any: any. */
	EQUAL(ibv_req_notify_cq(cq, 1), 0);
	EQUAL(ibv_req_notify_cq(cq, 0), 0);
	EQUAL(rig_send(rig, pair.a, 0, 0), 0);
	CHECK(rig_completion_event(channel, 1000));
	rig_wait(cq);
	/* What ends in error counts as solicited. */
	EQUAL(ibv_req_notify_cq(cq, 1), 0);
	EQUAL(ibv_modify_qp(pair.b, &error, IBV_QP_STATE), 0);
	CHECK(rig_completion_event(channel, 1000));
	EQUAL(rig_wait(cq).status, IBV_WC_WR_FLUSH_ERR);

	destroy_pair(&pair);
	EQUAL(ibv_destroy_cq(cq), 0);
	EQUAL(ibv_destroy_cq(send_cq), 0);
	EQUAL(ibv_destroy_comp_channel(channel), 0);
}

/* One event for ever, and errors for the queue pair. */
static void overrun(struct rig *rig)
{
	struct ibv_cq *small = ibv_create_cq(rig->context, 3, NULL, NULL, 0);
	struct ibv_cq *large = ibv_create_cq(rig->context, 200, NULL, NULL, 0);
	struct pair pair = connect_pair(rig, small, large);
	int cq_errors = 0, event;
	struct ibv_wc wc;

	EQUAL(small->cqe, 3);
	for (int i = 0; i < 10; i++)
		EQUAL(rig_recv(rig, pair.b, i), 0);
	for (int i = 0; i < 10; i++)
		EQUAL(rig_send(rig, pair.a, i, IBV_SEND_SIGNALED), 0);
	while ((event = rig_async_event(rig, 500)) >= 0)
		cq_errors += event == IBV_EVENT_CQ_ERR;
	EQUAL(cq_errors, 1);
	/* What had come before is there. */
	for (int i = 0; i < 3; i++) {
		EQUAL(ibv_poll_cq(small, 1, &wc), 1);
		EQUAL(wc.wr_id, i);
	}
	rig_quiet(small);
	destroy_pair(&pair);
	EQUAL(ibv_destroy_cq(small), 0);
	EQUAL(ibv_destroy_cq(large), 0);
}

void test_cq(struct rig *rig)
{
	limits(rig);
	resize(rig);
	resize_under_traffic(rig);
	notify(rig);
	overrun(rig);
}
