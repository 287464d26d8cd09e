// SPDX-License-Identifier: GPL-2.0-only
#include "rig.h"

void rig_open(struct rig *rig, const char *device, int gid_index)
{
	int count = 0;
	struct ibv_device **devices = ibv_get_device_list(&count);

	*rig = (struct rig){ .gid_index = gid_index };
	for (int i = 0; i < count; i++)
		if (!strcmp(ibv_get_device_name(devices[i]), device))
			CHECK(rig->context = ibv_open_device(devices[i]));
	CHECK(rig->context);
	ibv_free_device_list(devices);
	CHECK(rig->pd = ibv_alloc_pd(rig->context));
	CHECK(rig->buffer = aligned_alloc(4096, BUFFER));
	CHECK(rig->mr = ibv_reg_mr(rig->pd, rig->buffer, BUFFER,
				   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ));
	EQUAL(ibv_query_gid(rig->context, 1, gid_index, &rig->gid), 0);
}

void rig_close(struct rig *rig)
{
	EQUAL(ibv_dereg_mr(rig->mr), 0);
	EQUAL(ibv_dealloc_pd(rig->pd), 0);
	EQUAL(ibv_close_device(rig->context), 0);
	free(rig->buffer);
}

struct ibv_qp *rig_qp(struct rig *rig, enum ibv_qp_type type, struct ibv_cq *send_cq, struct ibv_cq *recv_cq, struct ibv_srq *srq)
{
	struct ibv_qp_init_attr init = {
		.qp_type = type,
		.send_cq = send_cq,
		.recv_cq = recv_cq,
		.srq = srq,
		.cap = { .max_send_wr = 64, .max_recv_wr = srq ? 0 : 64, .max_send_sge = 1, .max_recv_sge = srq ? 0 : 1 },
	};
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qkey = QKEY };
	int mask = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT;
	struct ibv_qp *qp = ibv_create_qp(rig->pd, &init);

	CHECK(qp);
	EQUAL(ibv_modify_qp(qp, &attr, mask | (type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS)), 0);
	return qp;
}

void rig_ready(struct rig *rig, struct ibv_qp *qp, struct ibv_qp *peer)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 1,
		.ah_attr = { .is_global = 1, .port_num = 1,
			     .grh = { .dgid = rig->gid, .sgid_index = rig->gid_index, .hop_limit = 64 } },
	};
	int mask = IBV_QP_STATE;

	if (peer) {
		attr.dest_qp_num = peer->qp_num;
		mask |= IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
	}
	EQUAL(ibv_modify_qp(qp, &attr, mask), 0);
	attr = (struct ibv_qp_attr){ .qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 7, .rnr_retry = 7, .max_rd_atomic = 1 };
	mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
	if (peer)
		mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
	EQUAL(ibv_modify_qp(qp, &attr, mask), 0);
}

struct ibv_ah *rig_ah(struct rig *rig, struct ibv_pd *pd, const union ibv_gid *to)
{
	struct ibv_ah_attr attr = { .is_global = 1, .port_num = 1,
				    .grh = { .dgid = *to, .sgid_index = rig->gid_index, .hop_limit = 64 } };

	return ibv_create_ah(pd, &attr);
}

static struct ibv_sge piece(struct rig *rig)
{
	return (struct ibv_sge){ .addr = (uintptr_t)rig->buffer, .length = 64, .lkey = rig->mr->lkey };
}

int rig_recv(struct rig *rig, struct ibv_qp *qp, uint64_t id)
{
	/* Behind what is sent, with room for the header in front of a datagram. */
	struct ibv_sge sge = { .addr = (uintptr_t)rig->buffer + 4096, .length = 512, .lkey = rig->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = id, .sg_list = &sge, .num_sge = 1 }, *bad;

	return ibv_post_recv(qp, &wr, &bad);
}

int rig_srq_recv(struct rig *rig, struct ibv_srq *srq, uint64_t id)
{
	struct ibv_sge sge = { .addr = (uintptr_t)rig->buffer + 4096, .length = 512, .lkey = rig->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = id, .sg_list = &sge, .num_sge = 1 }, *bad;

	return ibv_post_srq_recv(srq, &wr, &bad);
}

int rig_send(struct rig *rig, struct ibv_qp *qp, uint64_t id, int flags)
{
	struct ibv_sge sge = piece(rig);
	struct ibv_send_wr wr = { .wr_id = id, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = flags }, *bad;

	return ibv_post_send(qp, &wr, &bad);
}

int rig_send_ud(struct rig *rig, struct ibv_qp *qp, uint64_t id, struct ibv_ah *ah, uint32_t to)
{
	struct ibv_sge sge = piece(rig);
	struct ibv_send_wr wr = { .wr_id = id, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED,
				  .wr.ud = { .ah = ah, .remote_qpn = to, .remote_qkey = QKEY } }, *bad;

	return ibv_post_send(qp, &wr, &bad);
}

struct ibv_wc rig_wait(struct ibv_cq *cq)
{
	struct ibv_wc wc = { 0 };

	for (int i = 0; i < 2000; i++) {
		int polled = ibv_poll_cq(cq, 1, &wc);

		CHECK(polled >= 0);
		if (polled)
			return wc;
		usleep(1000);
	}
	fprintf(stderr, "no completion came\n");
	exit(1);
}

void rig_quiet(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	usleep(100000);
	EQUAL(ibv_poll_cq(cq, 1, &wc), 0);
}

static bool readable(int fd, int ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, ms) == 1;
}

bool rig_completion_event(struct ibv_comp_channel *channel, int ms)
{
	struct ibv_cq *cq;
	void *context;

	if (!readable(channel->fd, ms))
		return false;
	EQUAL(ibv_get_cq_event(channel, &cq, &context), 0);
	ibv_ack_cq_events(cq, 1);
	return true;
}

int rig_async_event(struct rig *rig, int ms)
{
	struct ibv_async_event event;

	if (!readable(rig->context->async_fd, ms))
		return -1;
	EQUAL(ibv_get_async_event(rig->context, &event), 0);
	ibv_ack_async_event(&event);
	return event.event_type;
}
