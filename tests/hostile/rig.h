/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What both programs of this folder need: an open device, QPs connected to one another on it, random numbers from a seed, time.
 *
 * Everything here ends the process with a message when it fails: neither program has anything to do without it.
 */
#ifndef RIG_H
#define RIG_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_QKEY 0x0badcafe
#define RIG_PSN 0xfffff0 /* near its end, so that sequence numbers wrap early */
#define RIG_SLOTS 64 /* work requests of a queue */
#define RIG_SGES 2
#define RIG_INLINE 64

struct rig {
	struct ibv_context *context;
	struct ibv_pd *pd;
	union ibv_gid gid;
	int gid_index;
	enum ibv_mtu mtu;
};

void rig_open(struct rig *rig, const char *device, int gid_index);
struct ibv_cq *rig_cq(struct rig *rig, int entries, struct ibv_comp_channel *channel);
struct ibv_qp *rig_qp(struct rig *rig, enum ibv_qp_type type, struct ibv_cq *cq, struct ibv_srq *srq);
struct ibv_mr *rig_mr(struct rig *rig, void *memory, size_t length, int more_access);
struct ibv_ah *rig_ah(struct rig *rig);

/* From any state to ready-to-send. Returns 0 or an errno; `peer` is a QP number on the same device. */
int rig_connect(struct rig *rig, struct ibv_qp *qp, uint32_t peer);

int rig_mtu_bytes(const struct rig *rig);

/* Random numbers: splitmix64. */
uint64_t rig_random(uint64_t *state);
uint32_t rig_below(uint64_t *state, uint32_t limit);

double rig_now(void); /* seconds */

__attribute__((noreturn, format(printf, 1, 2))) void rig_die(const char *format, ...);

#endif
