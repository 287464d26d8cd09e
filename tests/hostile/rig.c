// SPDX-License-Identifier: GPL-2.0-only
#include "rig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void rig_die(const char *format, ...)
{
	va_list list;
	int error = errno;

	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, " (errno %d, %s)\n", error, strerror(error));
	exit(2);
}

void rig_open(struct rig *rig, const char *device, int gid_index)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_port_attr port;

	memset(rig, 0, sizeof(*rig));
	rig->gid_index = gid_index;
	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), device))
			rig->context = ibv_open_device(list[i]);
	ibv_free_device_list(list);
	if (!rig->context)
		rig_die("cannot open %s", device);
	rig->pd = ibv_alloc_pd(rig->context);
	if (!rig->pd || ibv_query_port(rig->context, 1, &port) || ibv_query_gid(rig->context, 1, gid_index, &rig->gid))
		rig_die("cannot use %s", device);
	rig->mtu = port.active_mtu;
}

int rig_mtu_bytes(const struct rig *rig)
{
	return 128 << rig->mtu;
}

struct ibv_cq *rig_cq(struct rig *rig, int entries, struct ibv_comp_channel *channel)
{
	struct ibv_cq *cq = ibv_create_cq(rig->context, entries, NULL, channel, 0);

	if (!cq)
		rig_die("cannot create a CQ");
	return cq;
}

struct ibv_mr *rig_mr(struct rig *rig, void *memory, size_t length, int more_access)
{
	struct ibv_mr *mr = ibv_reg_mr(rig->pd, memory, length,
				       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
					       IBV_ACCESS_REMOTE_ATOMIC | more_access);

	if (!mr)
		rig_die("cannot register memory");
	return mr;
}

struct ibv_qp *rig_qp(struct rig *rig, enum ibv_qp_type type, struct ibv_cq *cq, struct ibv_srq *srq)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.srq = srq,
		.qp_type = type,
		.cap = { RIG_SLOTS, RIG_SLOTS, RIG_SGES, RIG_SGES, RIG_INLINE },
	};
	struct ibv_qp *qp = ibv_create_qp(rig->pd, &init);

	if (!qp)
		rig_die("cannot create a QP");
	return qp;
}

static void path(struct rig *rig, struct ibv_ah_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->is_global = 1;
	attr->port_num = 1;
	attr->grh.dgid = rig->gid;
	attr->grh.sgid_index = rig->gid_index;
	attr->grh.hop_limit = 64;
}

struct ibv_ah *rig_ah(struct rig *rig)
{
	struct ibv_ah_attr attr;
	struct ibv_ah *ah;

	path(rig, &attr);
	ah = ibv_create_ah(rig->pd, &attr);
	if (!ah)
		rig_die("cannot create an AH");
	return ah;
}

int rig_connect(struct rig *rig, struct ibv_qp *qp, uint32_t peer)
{
	bool rc = qp->qp_type == IBV_QPT_RC, ud = qp->qp_type == IBV_QPT_UD;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RESET,
		.port_num = 1,
		.qkey = RIG_QKEY,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | (rc ? IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC |
								   IBV_ACCESS_FLUSH_GLOBAL | IBV_ACCESS_FLUSH_PERSISTENT : 0),
		.path_mtu = rig->mtu,
		.dest_qp_num = peer,
		.rq_psn = RIG_PSN,
		.sq_psn = RIG_PSN,
		.max_dest_rd_atomic = 8,
		.max_rd_atomic = 8,
		.min_rnr_timer = 12,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
	};
	int error;

	path(rig, &attr.ah_attr);
	if (qp->state != IBV_QPS_RESET) {
		error = ibv_modify_qp(qp, &attr, IBV_QP_STATE);
		if (error)
			return error;
	}
	attr.qp_state = IBV_QPS_INIT;
	error = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | (ud ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS));
	if (error)
		return error;
	attr.qp_state = IBV_QPS_RTR;
	error = ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | (ud ? 0 : IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN) |
				      (rc ? IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER : 0));
	if (error)
		return error;
	attr.qp_state = IBV_QPS_RTS;
	return ibv_modify_qp(qp, &attr,
			     IBV_QP_STATE | IBV_QP_SQ_PSN |
				     (rc ? IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC : 0));
}

uint64_t rig_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint32_t rig_below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)(((rig_random(state) >> 32) * limit) >> 32);
}

double rig_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}
