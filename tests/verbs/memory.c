// SPDX-License-Identifier: GPL-2.0-only
#include <sys/mman.h>

#include "memory.h"

enum { ANY_ACCESS = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND |
		    IBV_ACCESS_FLUSH_GLOBAL | IBV_ACCESS_FLUSH_PERSISTENT };

static void ready(struct wire *wire, struct ibv_qp *qp, struct ibv_qp *peer)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = ANY_ACCESS };

	EQUAL(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS), 0);
	rig_ready(wire->rig, qp, peer);
}

void wire_open(struct wire *wire, struct rig *rig, struct ibv_pd *pd)
{
	struct rig there = *rig;

	there.pd = pd;
	*wire = (struct wire){ .rig = rig, .pd = pd };
	CHECK(wire->cq = ibv_create_cq(rig->context, 200, NULL, NULL, 0));
	wire->from = rig_qp(&there, IBV_QPT_RC, wire->cq, wire->cq, NULL);
	wire->to = rig_qp(&there, IBV_QPT_RC, wire->cq, wire->cq, NULL);
	ready(wire, wire->from, wire->to);
	ready(wire, wire->to, wire->from);
}

void wire_close(struct wire *wire)
{
	EQUAL(ibv_destroy_qp(wire->from), 0);
	EQUAL(ibv_destroy_qp(wire->to), 0);
	EQUAL(ibv_destroy_cq(wire->cq), 0);
}

void wire_renew(struct wire *wire)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	struct ibv_wc wc;

	EQUAL(ibv_modify_qp(wire->from, &attr, IBV_QP_STATE), 0);
	EQUAL(ibv_modify_qp(wire->to, &attr, IBV_QP_STATE), 0);
	while (ibv_poll_cq(wire->cq, 1, &wc))
		;
	while (rig_async_event(wire->rig, 0) >= 0)
		;
	ready(wire, wire->from, wire->to);
	ready(wire, wire->to, wire->from);
}

enum ibv_wc_status wire_post(struct wire *wire, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	wr->send_flags |= IBV_SEND_SIGNALED;
	EQUAL(ibv_post_send(wire->from, wr, &bad), 0);
	return rig_wait(wire->cq).status;
}

enum ibv_wc_status wire_rdma(struct wire *wire, enum ibv_wr_opcode opcode, struct place local, uint32_t length, struct place remote)
{
	struct ibv_sge sge = { .addr = local.addr, .length = length, .lkey = local.key };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = opcode, .wr.rdma = { remote.addr, remote.key } };

	return wire_post(wire, &wr);
}

void wire_refused(struct wire *wire, enum ibv_wr_opcode opcode, struct place local, uint32_t length, struct place remote,
		  enum ibv_wc_status status)
{
	EQUAL(wire_rdma(wire, opcode, local, length, remote), status);
	wire_renew(wire);
}

void *map(size_t length, int protection)
{
	void *memory = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}
