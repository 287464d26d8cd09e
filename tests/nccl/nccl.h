/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two hosts talk over libibverbs as NCCL and RCCL do (src/transport/net_ib.cc of NCCL 2.28, in its default settings and in some others), both
 * ways at once, and check everything that arrives.
 *
 * A connection has a direction, and queue pairs of its own. Its receiver posts receives without memory and writes into the sender's fifo,
 * which lies in plain memory, where the data may go. The sender looks at the fifo with the CPU, writes the data there, and its last write
 * carries immediate data, which completes the receive. Then the receiver reads one byte of its own memory through the device, so that
 * nothing of the data can still be on its way when that has completed.
 *
 *   device.c   which device, port and GID NCCL would take, and what it would think of them; asynchronous events
 *   connect.c  queue pairs, their attributes, the way they are connected and taken down
 *   request.c  requests under way, completions
 *   send.c     the sender: the fifo's slots, chains of writes            receive.c  the receiver: receives, the fifo, the flush
 *   plan.c     what is sent, drawn from the seed alone                   traffic.c  eight groups under way each way, every byte checked
 */
#ifndef NCCL_H
#define NCCL_H

#include "../soak/common.h"

#include <infiniband/verbs.h>
#include <stdbool.h>

enum {
	GROUP = 8, /* messages that may share a slot of the fifo */
	REQUESTS = 32 * GROUP, /* of a connection, and slots of its fifo; the number of one fits into a byte of a wr_id */
	MAX_QPS = 8,
	IN_FLIGHT = 8, /* groups of a connection */
	ALIGN = 128, /* where a message is cut, so that every line of a protocol stays whole */
	ADAPTIVE = 8192, /* longer messages are followed by an empty write with immediate data, if adaptive routing is on */
	GUARD = 64, /* bytes around the memory of a message that nobody may write */
	GUARD_BYTE = 0x5a,
};

/* What the client was told, and the server does too. */
struct terms {
	uint32_t magic, bytes;
	uint64_t seed;
	uint32_t seconds, qps;
	bool split, adaptive, inlined; /* NCCL_IB_SPLIT_DATA_ON_QPS, _ADAPTIVE_ROUTING, _USE_INLINE */
	uint8_t timeout;
};

extern struct nccl {
	struct terms terms;
	bool is_client, port_events; /* the only cable is pulled, so that events of the port are no surprise */
	double hang_seconds;
} nccl;

/* QPs that carry one message. */
int qps_per_message(void);

/* ---- device.c ---- */

extern struct device {
	struct ibv_context *context;
	struct ibv_port_attr port;
	const char *name;
	uint64_t guid;
	int gid_index;
	union ibv_gid gid;
	int speed; /* Mb/s, as NCCL computes it */
} device;

void device_open(const char *name);
void device_check_gid(int expected);

/* ---- request.c ---- */

struct request {
	enum request_kind { UNUSED, SEND, RECEIVE, FLUSH } kind;
	int events; /* completions it waits for */
	int count; /* messages of its group */
	uint32_t size; /* SEND */
	const uint8_t *data;
	uint32_t lkey;
	const struct group *group; /* RECEIVE: what should come */
	uint32_t length[MAX_QPS]; /* and how much of it with the immediate data on each QP */
	int *sizes; /* and where the sizes go */
};

struct connection {
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp[MAX_QPS];
	int turn; /* the QP of the next message */
	struct request requests[REQUESTS];
};

struct request *request_get(struct connection *connection, enum request_kind kind, int count);
uint64_t request_number(const struct connection *connection, const struct request *request);
/* Takes completions. True, and the request is free again, when it has had all of its own. */
bool request_test(struct connection *connection, struct request *request);
struct ibv_qp *next_qp(struct connection *connection);

/* ---- plan.c ---- */

struct message {
	uint32_t size, room, tag;
	uint32_t at; /* from the beginning of the group's memory */
	uint64_t stream; /* pattern of its bytes */
};

struct group {
	int count;
	struct message message[GROUP];
};

/* A group's memory. */
uint32_t plan_room(void);
void plan_group(struct group *group, bool from_client, uint64_t number);
/* How many bytes of a message its `index`th QP carries. */
uint32_t piece_of(uint32_t size, int index);

/* ---- connect.c ---- */

/* An element of a slot of the fifo, laid out as NCCL's. `index` is written last, and so says that all before it is there. */
struct element {
	uint64_t address, size;
	uint32_t rkey, spare;
	uint64_t sum; /* NCCL has rkeys of more devices here */
	uint32_t count, tag;
	uint64_t index;
	uint8_t padding[16];
};

uint64_t element_sum(const struct element *element);

struct sender {
	struct connection connection;
	struct element fifo[REQUESTS][GROUP]; /* written by the receiver */
	uint64_t head;
	struct request *accepted[REQUESTS][GROUP];
	int sizes[REQUESTS][GROUP]; /* of groups, to be written to the receiver */
	struct ibv_mr *fifo_mr, *sizes_mr;
	uint64_t remote_sizes;
	uint32_t remote_sizes_rkey;
};

struct receiver {
	struct connection connection;
	struct element fifo[REQUESTS][GROUP]; /* to be written to the sender */
	uint64_t tail;
	int sizes[REQUESTS][GROUP]; /* written by the sender */
	struct ibv_mr *fifo_mr, *sizes_mr, *flush_mr;
	uint64_t remote_fifo;
	uint32_t remote_fifo_rkey;
	uint32_t inline_room;
	struct ibv_qp *flush_qp;
	int flushed;
};

void connect_both(int fd, struct sender **sender, struct receiver **receiver);
struct ibv_mr *register_data(struct connection *connection, void *bytes, size_t size);
void close_sender(struct sender *sender);
void close_receiver(struct receiver *receiver);
void deregister(struct ibv_mr *mr, const char *what);

/* ---- send.c, receive.c ---- */

/* NULL when the receiver has not asked for it yet. The data goes out with the last message of its group. */
struct request *send_message(struct sender *sender, const struct group *group, int which, const uint8_t *data, uint32_t lkey);
struct request *receive_group(struct receiver *receiver, const struct group *group, uint8_t *data, uint32_t rkey);
/* NULL when nothing has come that could be flushed. */
struct request *receive_flush(struct receiver *receiver, const struct group *group, const uint8_t *data, uint32_t rkey);

/* ---- traffic.c ---- */

extern struct totals {
	uint64_t groups, messages, bytes_in, bytes_out;
	double longest; /* from the receive that is posted to the flush that is done */
	double seconds;
} totals;

void traffic_open(struct sender *sender, struct receiver *receiver);
void traffic_run(int fd);
void traffic_close(void);

#endif
