// SPDX-License-Identifier: GPL-2.0-only
/* Queue pairs, their attributes, how they are connected, and in which order all goes away. */
#include "nccl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one end of a connection tells the other. */
struct meta {
	uint64_t guid, address;
	union ibv_gid gid;
	uint32_t rkey;
	uint32_t mtu; /* enum ibv_mtu */
	struct {
		uint32_t number;
		bool has_ece;
		struct ibv_ece ece;
	} qp[MAX_QPS];
};

static struct ibv_pd *shared_pd;
static int pd_users;

static void *allocate(size_t size)
{
	void *memory = NULL;

	if (posix_memalign(&memory, 4096, size))
		die("no memory");
	memset(memory, 0, size);
	return memory;
}

static struct ibv_mr *register_small(const struct connection *connection, void *bytes, size_t size, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(connection->pd, bytes, size, access);

	if (!mr)
		die("cannot register %zu bytes: %s", size, strerror(errno));
	return mr;
}

/* Whole pages, by their own addresses, and in any order the bus likes. */
struct ibv_mr *register_data(struct connection *connection, void *bytes, size_t size)
{
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_RELAXED_ORDERING;
	struct ibv_mr *mr = ibv_reg_mr_iova2(connection->pd, bytes, size, (uintptr_t)bytes, (unsigned)access);

	if (!mr)
		die("cannot register %zu bytes with relaxed ordering: %s", size, strerror(errno));
	return mr;
}

static const int fifo_access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;

static void open_connection(struct connection *connection)
{
	if (!pd_users++)
		shared_pd = ibv_alloc_pd(device.context);
	connection->pd = shared_pd;
	connection->cq = ibv_create_cq(device.context, 2 * REQUESTS * (int)nccl.terms.qps, NULL, NULL, 0);
	if (!connection->pd || !connection->cq)
		die("cannot create PD, CQ: %s", strerror(errno));
}

static struct ibv_qp *new_qp(struct connection *connection, uint32_t receives, int access, uint32_t *inline_room)
{
	struct ibv_qp_init_attr init = {
		.qp_context = connection,
		.send_cq = connection->cq,
		.recv_cq = connection->cq,
		.qp_type = IBV_QPT_RC,
		.cap = { 2 * REQUESTS, receives, 1, 1, nccl.terms.inlined ? sizeof(struct element) : 0 },
	};
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = (unsigned)access };
	struct ibv_qp *qp = ibv_create_qp(connection->pd, &init);

	if (!qp)
		die("cannot create a QP with room for %u receives: %s", receives, strerror(errno));
	errno = ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
	if (errno)
		die("cannot initialise a QP: %s", strerror(errno));
	if (inline_room)
		*inline_room = init.cap.max_inline_data;
	return qp;
}

static void ready_to_receive(struct ibv_qp *qp, uint32_t to, const union ibv_gid *gid, enum ibv_mtu mtu)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mtu,
		.dest_qp_num = to,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = { .dgid = *gid, .sgid_index = (uint8_t)device.gid_index, .hop_limit = 255 },
		},
	};

	errno = ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				      IBV_QP_MIN_RNR_TIMER);
	if (errno)
		die("cannot make a QP ready to receive: %s", strerror(errno));
}

static void ready_to_send(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = nccl.terms.timeout,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};

	errno = ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
	if (errno)
		die("cannot make a QP ready to send: %s", strerror(errno));
}

/* Enhanced connection establishment may be missing, and nothing else may go wrong with it. */
static bool has_ece(int error, const char *what)
{
	if (error && error != EOPNOTSUPP)
		die("%s: %s", what, strerror(error));
	return !error;
}

static void query_ece(struct ibv_qp *qp, struct meta *meta, int q)
{
	meta->qp[q].has_ece = has_ece(ibv_query_ece(qp, &meta->qp[q].ece), "ibv_query_ece");
}

static bool set_ece(struct ibv_qp *qp, struct meta *theirs, int q)
{
	return theirs->qp[q].has_ece && has_ece(ibv_set_ece(qp, &theirs->qp[q].ece), "ibv_set_ece");
}

static struct meta new_meta(void)
{
	struct meta meta;

	/* All of it goes over the wire, what lies between the fields as well. */
	memset(&meta, 0, sizeof(meta));
	meta.guid = device.guid;
	meta.gid = device.gid;
	meta.mtu = device.port.active_mtu;
	return meta;
}

static enum ibv_mtu path_mtu(const struct meta *theirs)
{
	return theirs->mtu < device.port.active_mtu ? theirs->mtu : device.port.active_mtu;
}

static struct sender *open_sender(struct meta *mine)
{
	struct sender *sender = allocate(sizeof(*sender));
	struct connection *connection = &sender->connection;

	open_connection(connection);
	for (int q = 0; q < (int)nccl.terms.qps; q++) {
		connection->qp[q] = new_qp(connection, 0, IBV_ACCESS_REMOTE_WRITE, NULL);
		mine->qp[q].number = connection->qp[q]->qp_num;
		query_ece(connection->qp[q], mine, q);
	}
	sender->fifo_mr = register_small(connection, sender->fifo, sizeof(sender->fifo), fifo_access);
	mine->address = (uintptr_t)sender->fifo;
	mine->rkey = sender->fifo_mr->rkey;
	return sender;
}

/* The receiver is ready before the sender hears of it. */
static struct receiver *open_receiver(struct meta *theirs, struct meta *mine)
{
	struct receiver *receiver = allocate(sizeof(*receiver));
	struct connection *connection = &receiver->connection;

	open_connection(connection);
	for (int q = 0; q < (int)nccl.terms.qps; q++) {
		struct ibv_qp *qp = new_qp(connection, REQUESTS, IBV_ACCESS_REMOTE_WRITE, &receiver->inline_room);
		bool ece = set_ece(qp, theirs, q);

		connection->qp[q] = qp;
		mine->qp[q].number = qp->qp_num;
		ready_to_receive(qp, theirs->qp[q].number, &theirs->gid, path_mtu(theirs));
		ready_to_send(qp);
		if (ece)
			query_ece(qp, mine, q);
	}
	receiver->remote_fifo = theirs->address;
	receiver->remote_fifo_rkey = theirs->rkey;
	receiver->fifo_mr = register_small(connection, receiver->fifo, sizeof(receiver->fifo), fifo_access);
	receiver->flush_mr = register_small(connection, &receiver->flushed, sizeof(receiver->flushed), IBV_ACCESS_LOCAL_WRITE);
	receiver->flush_qp = new_qp(connection, REQUESTS, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ, NULL);
	ready_to_receive(receiver->flush_qp, receiver->flush_qp->qp_num, &device.gid, device.port.active_mtu);
	ready_to_send(receiver->flush_qp);
	receiver->sizes_mr = register_small(connection, receiver->sizes, sizeof(receiver->sizes), fifo_access);
	mine->address = (uintptr_t)receiver->sizes;
	mine->rkey = receiver->sizes_mr->rkey;
	return receiver;
}

static void connect_sender(struct sender *sender, struct meta *theirs)
{
	sender->remote_sizes = theirs->address;
	sender->remote_sizes_rkey = theirs->rkey;
	sender->sizes_mr = register_small(&sender->connection, sender->sizes, sizeof(sender->sizes), fifo_access);
	for (int q = 0; q < (int)nccl.terms.qps; q++) {
		set_ece(sender->connection.qp[q], theirs, q);
		ready_to_receive(sender->connection.qp[q], theirs->qp[q].number, &theirs->gid, path_mtu(theirs));
		ready_to_send(sender->connection.qp[q]);
	}
}

void connect_both(int fd, struct sender **sender, struct receiver **receiver)
{
	struct meta asking = new_meta(), asked = new_meta(), answer = new_meta(), answered = new_meta();
	int ready = 1;

	*sender = open_sender(&asking);
	exchange(fd, &asking, &asked, sizeof(asked));
	if (asked.guid == device.guid)
		die("both hosts have the sys_image_guid %#lx", device.guid);
	*receiver = open_receiver(&asked, &answer);
	exchange(fd, &answer, &answered, sizeof(answered));
	connect_sender(*sender, &answered);
	exchange(fd, &ready, &ready, sizeof(ready));
	printf("connected: %u QPs, path MTU %d, ECE %s, inline data up to %u bytes\n", nccl.terms.qps, 128 << path_mtu(&asked),
	       asking.qp[0].has_ece ? "supported" : "not supported", nccl.terms.inlined ? (*receiver)->inline_room : 0);
}

static void destroy(struct ibv_qp *qp)
{
	errno = ibv_destroy_qp(qp);
	if (errno)
		die("cannot destroy a QP: %s", strerror(errno));
}

void deregister(struct ibv_mr *mr, const char *what)
{
	errno = ibv_dereg_mr(mr);
	if (errno)
		die("cannot deregister %s: %s", what, strerror(errno));
}

static void close_connection(struct connection *connection)
{
	errno = ibv_destroy_cq(connection->cq);
	if (errno)
		die("cannot destroy a CQ: %s", strerror(errno));
	errno = --pd_users ? 0 : ibv_dealloc_pd(connection->pd);
	if (errno)
		die("cannot deallocate the PD: %s", strerror(errno));
}

void close_sender(struct sender *sender)
{
	for (int q = 0; q < (int)nccl.terms.qps; q++)
		destroy(sender->connection.qp[q]);
	deregister(sender->fifo_mr, "a fifo");
	deregister(sender->sizes_mr, "sizes");
	close_connection(&sender->connection);
	free(sender);
}

void close_receiver(struct receiver *receiver)
{
	for (int q = 0; q < (int)nccl.terms.qps; q++)
		destroy(receiver->connection.qp[q]);
	destroy(receiver->flush_qp);
	deregister(receiver->flush_mr, "the flushed byte");
	deregister(receiver->fifo_mr, "a fifo");
	deregister(receiver->sizes_mr, "sizes");
	close_connection(&receiver->connection);
	free(receiver);
}
