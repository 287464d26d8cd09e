// SPDX-License-Identifier: GPL-2.0-only
#include <signal.h>
#include <sys/wait.h>

#include "rig.h"

enum { MEMBERS = 4 };

static const union ibv_gid GROUP = { .raw = { [10] = 0xff, [11] = 0xff, [12] = 224, [13] = 1, [14] = 2, [15] = 3 } };
static const union ibv_gid OTHER_GROUP = { .raw = { [10] = 0xff, [11] = 0xff, [12] = 224, [13] = 1, [14] = 2, [15] = 4 } };

/* Sends one message to the group; as many members as said take it. */
static void send_one(struct rig *rig, struct ibv_qp *from, struct ibv_cq *send_cq, struct ibv_ah *ah, struct ibv_cq *cq, int takers)
{
	EQUAL(rig_send_ud(rig, from, 0, ah, 0xffffff), 0);
	EQUAL(rig_wait(send_cq).status, IBV_WC_SUCCESS);
	for (int i = 0; i < takers; i++) {
		struct ibv_wc wc = rig_wait(cq);

		EQUAL(wc.status, IBV_WC_SUCCESS);
		EQUAL(wc.src_qp, from->qp_num);
		EQUAL(wc.byte_len, 64 + 40);
	}
	rig_quiet(cq);
}

/* A process that is killed while it is in groups and messages come leaves them. */
static void killed(struct rig *rig, struct ibv_qp *from, struct ibv_cq *send_cq, struct ibv_ah *ah)
{
	for (int round = 0; round < 10; round++) {
		int ready[2], status;
		pid_t child;
		char byte = 0;

		EQUAL(pipe(ready), 0);
		child = fork();
		CHECK(child >= 0);
		if (!child) {
			struct ibv_cq *cq;
			struct rig own;

			rig_open(&own, ibv_get_device_name(rig->context->device), rig->gid_index);
			CHECK(cq = ibv_create_cq(own.context, 200, NULL, NULL, 0));
			for (int i = 0; i < MEMBERS; i++) {
				struct ibv_qp *qp = rig_qp(&own, IBV_QPT_UD, cq, cq, NULL);

				rig_ready(&own, qp, NULL);
				EQUAL(rig_recv(&own, qp, 0), 0);
				EQUAL(ibv_attach_mcast(qp, &GROUP, 0), 0);
				EQUAL(ibv_attach_mcast(qp, &OTHER_GROUP, 0), 0);
			}
			EQUAL(write(ready[1], &byte, 1), 1);
			for (;;)
				pause();
		}
		EQUAL(read(ready[0], &byte, 1), 1);
		for (int i = 0; i < 40; i++) {
			if (i == 20)
				kill(child, SIGKILL);
			EQUAL(rig_send_ud(rig, from, 0, ah, 0xffffff), 0);
			EQUAL(rig_wait(send_cq).status, IBV_WC_SUCCESS);
		}
		EQUAL(waitpid(child, &status, 0), child);
		EQUAL(WTERMSIG(status), SIGKILL);
		close(ready[0]);
		close(ready[1]);
	}
}

void test_mcast(struct rig *rig)
{
	struct ibv_cq *cq = ibv_create_cq(rig->context, 200, NULL, NULL, 0), *send_cq = ibv_create_cq(rig->context, 200, NULL, NULL, 0);
	struct ibv_qp *from = rig_qp(rig, IBV_QPT_UD, send_cq, send_cq, NULL), *members[MEMBERS];
	struct ibv_qp *rc = rig_qp(rig, IBV_QPT_RC, cq, cq, NULL);
	struct ibv_ah *ah;

	for (int i = 0; i < MEMBERS; i++) {
		members[i] = rig_qp(rig, IBV_QPT_UD, cq, cq, NULL);
		rig_ready(rig, members[i], NULL);
		for (int j = 0; j < 8; j++)
			EQUAL(rig_recv(rig, members[i], i), 0);
	}
	rig_ready(rig, from, NULL);
	CHECK(ah = rig_ah(rig, rig->pd, &GROUP));

	/* Nobody is in it. */
	send_one(rig, from, send_cq, ah, cq, 0);
	for (int i = 0; i < MEMBERS; i++)
		EQUAL(ibv_attach_mcast(members[i], &GROUP, 0), 0);
	EQUAL(ibv_attach_mcast(members[0], &GROUP, 0), 0);
	EQUAL(ibv_attach_mcast(members[0], &OTHER_GROUP, 0), 0);
	send_one(rig, from, send_cq, ah, cq, MEMBERS);
	/* The sender takes its own message too if it is a member. */
	EQUAL(ibv_attach_mcast(from, &GROUP, 0), 0);
	EQUAL(rig_recv(rig, from, 0), 0);
	EQUAL(rig_send_ud(rig, from, 0, ah, 0xffffff), 0);
	EQUAL(rig_wait(send_cq).status, IBV_WC_SUCCESS);
	EQUAL(rig_wait(send_cq).status, IBV_WC_SUCCESS);
	for (int i = 0; i < MEMBERS; i++)
		rig_wait(cq);
	rig_quiet(cq);
	EQUAL(ibv_detach_mcast(from, &GROUP, 0), 0);

	EQUAL(ibv_detach_mcast(members[1], &GROUP, 0), 0);
	send_one(rig, from, send_cq, ah, cq, MEMBERS - 1);
	/* Not a member, no such group, no datagrams, no group. */
	EQUAL(ibv_detach_mcast(members[1], &GROUP, 0), EINVAL);
	EQUAL(ibv_detach_mcast(members[1], &OTHER_GROUP, 0), EINVAL);
	EQUAL(ibv_attach_mcast(rc, &GROUP, 0), EINVAL);
	EQUAL(ibv_attach_mcast(members[1], &rig->gid, 0), EINVAL);
	/* A member cannot be destroyed. */
	EQUAL(ibv_destroy_qp(members[0]), EBUSY);
	EQUAL(ibv_detach_mcast(members[0], &OTHER_GROUP, 0), 0);
	for (int i = 0; i < MEMBERS; i++)
		if (i != 1)
			EQUAL(ibv_detach_mcast(members[i], &GROUP, 0), 0);
	send_one(rig, from, send_cq, ah, cq, 0);
	killed(rig, from, send_cq, ah);
	send_one(rig, from, send_cq, ah, cq, 0);

	for (int i = 0; i < MEMBERS; i++)
		EQUAL(ibv_destroy_qp(members[i]), 0);
	EQUAL(ibv_destroy_ah(ah), 0);
	EQUAL(ibv_destroy_qp(from), 0);
	EQUAL(ibv_destroy_qp(rc), 0);
	EQUAL(ibv_destroy_cq(cq), 0);
	EQUAL(ibv_destroy_cq(send_cq), 0);
}
