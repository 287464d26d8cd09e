// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the tests here share: a device, connected queue pairs on it, requests with less typing, and checks that say what they
 * expected. A failed check ends the program.
 */
#ifndef RIG_H
#define RIG_H

#include <errno.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                                          \
	do {                                                                                                      \
		errno = 0;                                                                                        \
		if (!(condition)) {                                                                               \
			fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
			exit(1);                                                                                  \
		}                                                                                                 \
	} while (0)

/* The value must be this one; both are printed if it is not. */
#define EQUAL(value, expected)                                                                                   \
	do {                                                                                                     \
		long long value_ = (value), expected_ = (expected);                                              \
		if (value_ != expected_) {                                                                       \
			fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #value, value_, expected_); \
			exit(1);                                                                                 \
		}                                                                                                \
	} while (0)

enum { BUFFER = 64 * 1024, QKEY = 0x11111111 };

struct rig {
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	char *buffer;
	int gid_index;
	union ibv_gid gid;
};

void rig_open(struct rig *rig, const char *device, int gid_index);
void rig_close(struct rig *rig);

struct ibv_qp *rig_qp(struct rig *rig, enum ibv_qp_type type, struct ibv_cq *send_cq, struct ibv_cq *recv_cq, struct ibv_srq *srq);
/* Ready to send, to `peer` if the type is a connected one. */
void rig_ready(struct rig *rig, struct ibv_qp *qp, struct ibv_qp *peer);
struct ibv_ah *rig_ah(struct rig *rig, struct ibv_pd *pd, const union ibv_gid *to);

int rig_recv(struct rig *rig, struct ibv_qp *qp, uint64_t id);
int rig_srq_recv(struct rig *rig, struct ibv_srq *srq, uint64_t id);
int rig_send(struct rig *rig, struct ibv_qp *qp, uint64_t id, int flags);
int rig_send_ud(struct rig *rig, struct ibv_qp *qp, uint64_t id, struct ibv_ah *ah, uint32_t to);

/* Waits for a completion, at most two seconds. */
struct ibv_wc rig_wait(struct ibv_cq *cq);
/* Nothing comes within a tenth of a second. */
void rig_quiet(struct ibv_cq *cq);
/* Waits for an event on a completion channel; whether one came. */
bool rig_completion_event(struct ibv_comp_channel *channel, int ms);
/* Waits for an asynchronous event; -1 if none comes. */
int rig_async_event(struct rig *rig, int ms);

void test_cq(struct rig *rig);
void test_srq(struct rig *rig);
void test_ah(struct rig *rig);
void test_mcast(struct rig *rig);
void test_maps(struct rig *rig);
void test_mr(struct rig *rig);
void test_mw(struct rig *rig);
void test_odp(struct rig *rig);
void test_qp(struct rig *rig);
void test_flush(struct rig *rig);

#endif
