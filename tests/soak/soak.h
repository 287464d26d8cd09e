/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two hosts send each other random messages over many queue pairs, and both check every byte and every completion.
 *
 *   plan.c      what is sent: batches of operations, drawn from the seed alone, so that both ends know them without asking
 *   reliable.c  RC: a batch goes out, the other end checks it and says so over the control QP, the next one goes out
 *   lossy.c     UC and UD: messages may be lost where the run allows it, but neither changed, nor doubled, nor out of order
 *   control.c   the control QP: "verified", "sent so far", "no more"; an RC QP of its own
 *   run.c       the loop: completions to their QPs, time, the way an error takes
 *   setup.c     device, queue pairs, memory        exchange.c  what both ends tell each other over TCP before they begin
 */
#ifndef SOAK_H
#define SOAK_H

#include "common.h"

#include <infiniband/verbs.h>
#include <stdbool.h>

enum {
	MAX_QPS = 128, /* of all types */
	MAX_OPS = 16, /* operations of a batch */
	MAX_PIECES = 4, /* scatter-gather elements of a request */
	MAX_GAP = 64, /* bytes between two pieces of memory */
	PAGE = 4096,
	LEAD = 1024, /* where in a page a region begins */
	INLINE = 220,
	WORDS = 32, /* targets of atomics */
	POISON = 0x5a, /* what memory that nobody may write is filled with */
	QKEY = 0x50a50a,
	FIRST_PSN = 0xfffff0, /* near its end, so that sequence numbers wrap early */
};

/* ---- plan.c ---- */

enum kind { SEND, SEND_IMM, WRITE, WRITE_IMM, READ, FETCH_ADD, CMP_SWAP, KINDS };
extern const char *const kind_names[KINDS];

struct piece {
	uint32_t at, length;
};

struct op {
	enum kind kind;
	bool inlined, signaled, fence, solicited;
	uint32_t length;
	uint32_t imm;
	uint64_t stream; /* pattern of the bytes it carries */
	uint32_t remote; /* byte of the target, or word */
	uint64_t compare_add, swap, old, new; /* atomics: operands, the value before and after */
	int pieces; /* of the sender's local memory */
	struct piece local[MAX_PIECES];
	int recv_pieces; /* of the receiver's memory, for those that take a receive */
	struct piece recv[MAX_PIECES];
};

struct batch {
	int ops;
	struct op op[MAX_OPS];
};

/* One direction of one reliable QP. Both ends have one, and draw the same batches from it. */
struct plan {
	uint64_t random;
	uint64_t words[WORDS]; /* as they are after the last batch */
	uint32_t largest; /* message */
	uint32_t smallest; /* 0 or 1 */
	uint32_t mtu;
	uint64_t initial; /* pattern of the target before anything was written */
};

void plan_begin(struct plan *plan, uint64_t seed, int qp, bool from_client, uint32_t largest, uint32_t smallest, uint32_t mtu);
void plan_next(struct plan *plan, struct batch *batch);
bool takes_receive(enum kind kind);
bool is_atomic(enum kind kind);
/* Bytes of the regions of a QP whose largest message is this. */
uint32_t region_bytes(uint32_t largest);

/* ---- main.c ---- */

/* What the client was told, and the server does too. */
struct terms {
	uint32_t magic, bytes;
	uint64_t seed, messages;
	uint32_t rc, uc, ud, largest, smallest, seconds;
	uint8_t timeout, retries, rnr_retries, mtu;
};

/* What each end has to tell about itself. Index 0 is the control QP. */
struct end {
	union ibv_gid gid;
	uint32_t mtu;
	uint32_t qpn[MAX_QPS + 1], rkey[MAX_QPS + 1];
	uint64_t target[MAX_QPS + 1];
};

/* ---- setup.c ---- */

struct memory {
	uint8_t *bytes;
	size_t size;
	struct ibv_mr *mr;
};

extern struct soak {
	struct terms terms;
	bool is_client, expects_errors, device_may_go, may_lose;
	int hang_seconds, grace_seconds;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	int gid_index;
	uint32_t mtu; /* of both ends, in bytes */
	struct end near, far;
	int qps; /* all but the control QP */
} soak;

void open_device(const char *name);
void close_device(void);
struct memory new_memory(size_t size, int access);
void free_memory(struct memory *memory);
struct ibv_qp *new_qp(enum ibv_qp_type type, int depth);
void connect_qp(struct ibv_qp *qp, uint32_t to);
struct ibv_ah *new_ah(void);
void destroy_qp(struct ibv_qp *qp);

/* ---- completions: which queue and which request, in a wr_id ---- */

struct token {
	int qp; /* 0 is the control QP */
	bool receive;
	uint32_t number; /* of the requests of this queue, from 0 */
};

uint64_t token_of(int qp, bool receive, uint32_t number);
struct token token(uint64_t wr_id);

/* Every request of a queue completes once, in order. Only the sender knows which ones of a send queue are silent. */
struct account {
	uint32_t posted, completed; /* completed: all before this number */
};

/* ---- control.c ---- */

enum message_type { VERIFIED, STOP, SENT, CREDIT, BYE };

void control_open(void);
void control_begin(void);
void control_send(enum message_type type, int qp, uint64_t number);
void control_completion(const struct ibv_wc *wc, struct token token);
void control_fail(void); /* to the error state */
bool control_is_idle(void); /* nothing posted is without completion, after an error */
bool control_is_quiet(void); /* no send is under way */
void control_close(void);

/* ---- reliable.c ---- */

void reliable_open(int qp);
void reliable_begin(int qp);
void reliable_start(int qp);
void reliable_completion(const struct ibv_wc *wc, struct token token);
void reliable_message(enum message_type type, int qp, uint64_t number);
bool reliable_is_done(int qp); /* both directions have ended as planned */
bool reliable_is_quiet(int index);
bool reliable_is_idle(int qp);
void reliable_fail(int qp);
void reliable_report(int qp);
void reliable_close(int qp);

/* ---- lossy.c ---- */

void lossy_open(int qp, enum ibv_qp_type type);
void lossy_begin(int qp);
void lossy_start(int qp);
void lossy_tick(int qp);
void lossy_completion(const struct ibv_wc *wc, struct token token);
void lossy_message(enum message_type type, int qp, uint64_t number);
bool lossy_is_done(int qp);
bool lossy_is_quiet(int index);
bool lossy_is_idle(int qp);
void lossy_fail(int qp);
void lossy_report(int qp);
void lossy_close(int qp);

/* ---- run.c ---- */

extern struct totals {
	uint64_t messages[KINDS], bytes_out, bytes_in; /* verified */
	struct lossy_totals {
		uint64_t sent, received, lost; /* messages */
	} uc, ud;
	double longest_pause; /* between two completions */
	unsigned long errors, flushed;
	bool failing; /* an error has come that was expected: nothing new is sent */
} totals;

void run(void);
bool is_reliable(int qp);
void dispatch_message(enum message_type type, int qp, uint64_t number);
void bye_received(void);
/* A completion with an error. Ends the program unless errors are expected. */
void completion_error(const struct ibv_wc *wc, const char *what);
bool time_is_over(void);

#endif
