// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control QP: short messages about the other ones, on a connection of its own, so that the receives of the others are in the hands of
 * their plans alone. At most four messages per QP are under way at a time (each type waits for an answer), so neither queue can fill up.
 */
#include "soak.h"

#include <errno.h>
#include <string.h>

struct message {
	uint32_t type, qp;
	uint64_t number;
};

static struct ibv_qp *qp;
static struct memory memory; /* `depth` messages to send, then as many to receive */
static uint32_t depth;
static struct account sends, receives;

static struct message *slot(bool receive, uint32_t number)
{
	return (struct message *)memory.bytes + (receive ? depth : 0) + number % depth;
}

void control_open(void)
{
	depth = 4 * (uint32_t)soak.qps + 8;
	qp = new_qp(IBV_QPT_RC, (int)depth);
	memory = new_memory(2 * depth * sizeof(struct message), IBV_ACCESS_LOCAL_WRITE);
	soak.near.qpn[0] = qp->qp_num;
}

static void post_receive(void)
{
	struct ibv_sge sge = { (uintptr_t)slot(true, receives.posted), sizeof(struct message), memory.mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = token_of(0, true, receives.posted), .sg_list = &sge, .num_sge = 1 }, *bad;

	if (ibv_post_recv(qp, &wr, &bad))
		die("control: cannot post a receive");
	receives.posted++;
}

void control_begin(void)
{
	connect_qp(qp, soak.far.qpn[0]);
	for (uint32_t i = 0; i < depth; i++)
		post_receive();
}

void control_send(enum message_type type, int about, uint64_t number)
{
	struct message *message = slot(false, sends.posted);
	struct ibv_sge sge = { (uintptr_t)message, sizeof(*message), memory.mr->lkey };
	struct ibv_send_wr wr = {
		.wr_id = token_of(0, false, sends.posted),
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED | IBV_SEND_SOLICITED,
	}, *bad;

	if (totals.failing)
		return;
	if (sends.posted - sends.completed >= depth)
		die("control: more than %u messages under way", depth);
	*message = (struct message){ type, (uint32_t)about, number };
	if (ibv_post_send(qp, &wr, &bad))
		die("control: cannot post a send: %s", strerror(errno));
	sends.posted++;
}

void control_completion(const struct ibv_wc *wc, struct token token)
{
	struct account *account = token.receive ? &receives : &sends;
	struct message message;

	if (token.number != account->completed)
		die("control: completion of %s %u, not of %u", token.receive ? "receive" : "send", token.number, account->completed);
	account->completed++;
	if (wc->status != IBV_WC_SUCCESS) {
		completion_error(wc, "control");
		return;
	}
	if (!token.receive)
		return;
	if (wc->byte_len != sizeof(message) || wc->opcode != IBV_WC_RECV)
		die("control: %u bytes received", wc->byte_len);
	message = *slot(true, token.number);
	if (message.type > BYE || message.qp > (uint32_t)soak.qps)
		die("control: message of type %u about QP %u", message.type, message.qp);
	if (!totals.failing)
		post_receive();
	dispatch_message(message.type, (int)message.qp, message.number);
}

void control_fail(void)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE))
		die("control: cannot make it fail: %s", strerror(errno));
}

bool control_is_idle(void)
{
	return sends.posted == sends.completed && receives.posted == receives.completed;
}

bool control_is_quiet(void)
{
	return sends.posted == sends.completed;
}

void control_close(void)
{
	destroy_qp(qp);
	free_memory(&memory);
}
