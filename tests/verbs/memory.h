// SPDX-License-Identifier: GPL-2.0-only
/* Two connected queue pairs for tests of memory: one request at a time, and how it ended. */
#ifndef MEMORY_H
#define MEMORY_H

#include "rig.h"

struct wire {
	struct rig *rig;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *from, *to;
};

/* A place in somebody's memory. */
struct place {
	uint64_t addr;
	uint32_t key;
};

void wire_open(struct wire *wire, struct rig *rig, struct ibv_pd *pd);
void wire_close(struct wire *wire);
/* After a failure: both ends from the beginning. */
void wire_renew(struct wire *wire);
/* Executes one request and returns its status. */
enum ibv_wc_status wire_post(struct wire *wire, struct ibv_send_wr *wr);
enum ibv_wc_status wire_rdma(struct wire *wire, enum ibv_wr_opcode opcode, struct place local, uint32_t length, struct place remote);
/* The same for one that must fail so, after which both ends are renewed. */
void wire_refused(struct wire *wire, enum ibv_wr_opcode opcode, struct place local, uint32_t length, struct place remote,
		  enum ibv_wc_status status);

void *map(size_t length, int protection);

#endif
