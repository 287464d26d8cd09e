// SPDX-License-Identifier: GPL-2.0-only
/* Device, queue pairs, memory. */
#include "soak.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_port_attr port;
	int entries = 4 * 4 * MAX_QPS;

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			soak.context = ibv_open_device(list[i]);
	ibv_free_device_list(list);
	if (!soak.context)
		die("cannot open %s", name);
	if (ibv_query_port(soak.context, 1, &port) || ibv_query_gid(soak.context, 1, soak.gid_index, &soak.near.gid))
		die("cannot use %s: %s", name, strerror(errno));
	soak.near.mtu = 128u << port.active_mtu;
	soak.pd = ibv_alloc_pd(soak.context);
	soak.channel = ibv_create_comp_channel(soak.context);
	entries += soak.qps * 2 * MAX_OPS;
	soak.cq = soak.channel ? ibv_create_cq(soak.context, entries, NULL, soak.channel, 0) : NULL;
	if (!soak.pd || !soak.cq)
		die("cannot create PD, channel, CQ: %s", strerror(errno));
}

void close_device(void)
{
	if (ibv_destroy_cq(soak.cq) || ibv_destroy_comp_channel(soak.channel) || ibv_dealloc_pd(soak.pd) || ibv_close_device(soak.context))
		die("cannot take the device down: %s", strerror(errno));
}

struct memory new_memory(size_t size, int access)
{
	/* Pages of its own, and it begins in the middle of one. */
	struct memory memory = { .size = size };
	uint8_t *pages = mmap(NULL, size + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (pages == MAP_FAILED)
		die("no memory");
	memory.bytes = pages + LEAD;
	if (access >= 0)
		memory.mr = ibv_reg_mr(soak.pd, memory.bytes, size, access);
	if (access >= 0 && !memory.mr)
		die("cannot register %zu bytes: %s", size, strerror(errno));
	return memory;
}

void free_memory(struct memory *memory)
{
	if (memory->mr && ibv_dereg_mr(memory->mr))
		die("cannot deregister memory: %s", strerror(errno));
	munmap(memory->bytes - LEAD, memory->size + 2 * PAGE);
}

struct ibv_qp *new_qp(enum ibv_qp_type type, int depth)
{
	struct ibv_qp_init_attr init = {
		.send_cq = soak.cq,
		.recv_cq = soak.cq,
		.qp_type = type,
		.cap = { (uint32_t)depth, (uint32_t)depth, MAX_PIECES, MAX_PIECES, INLINE },
	};
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qkey = QKEY,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | (type == IBV_QPT_RC ? IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC : 0),
	};
	struct ibv_qp *qp = ibv_create_qp(soak.pd, &init);

	if (!qp)
		die("cannot create a QP: %s", strerror(errno));
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | (type == IBV_QPT_UD ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS)))
		die("cannot initialise a QP: %s", strerror(errno));
	return qp;
}

static struct ibv_ah_attr path(void)
{
	return (struct ibv_ah_attr){
		.is_global = 1,
		.port_num = 1,
		.grh = { .dgid = soak.far.gid, .sgid_index = (uint8_t)soak.gid_index, .hop_limit = 64 },
	};
}

static enum ibv_mtu mtu(void)
{
	enum ibv_mtu mtu = IBV_MTU_256;

	while ((128u << (mtu + 1)) <= soak.mtu)
		mtu++;
	return mtu;
}

void connect_qp(struct ibv_qp *qp, uint32_t to)
{
	bool rc = qp->qp_type == IBV_QPT_RC, ud = qp->qp_type == IBV_QPT_UD;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mtu(),
		.dest_qp_num = to,
		.rq_psn = FIRST_PSN,
		.max_dest_rd_atomic = 8,
		.min_rnr_timer = 12,
		.ah_attr = path(),
	};

	if (ibv_modify_qp(qp, &attr,
			  IBV_QP_STATE | (ud ? 0 : IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN) |
				  (rc ? IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER : 0)))
		die("cannot make a QP ready to receive: %s", strerror(errno));
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.sq_psn = FIRST_PSN,
		.max_rd_atomic = 8,
		.timeout = soak.terms.timeout,
		.retry_cnt = soak.terms.retries,
		.rnr_retry = soak.terms.rnr_retries,
	};
	if (ibv_modify_qp(qp, &attr,
			  IBV_QP_STATE | IBV_QP_SQ_PSN |
				  (rc ? IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC : 0)))
		die("cannot make a QP ready to send: %s", strerror(errno));
}

struct ibv_ah *new_ah(void)
{
	struct ibv_ah_attr attr = path();
	struct ibv_ah *ah = ibv_create_ah(soak.pd, &attr);

	if (!ah)
		die("cannot create an AH: %s", strerror(errno));
	return ah;
}

void destroy_qp(struct ibv_qp *qp)
{
	if (ibv_destroy_qp(qp))
		die("cannot destroy a QP: %s", strerror(errno));
}
