// SPDX-License-Identifier: GPL-2.0-only
/*
 * The loop: completions to their queue pairs until both ends have sent and checked everything.
 *
 * When errors are expected the way is another one. Traffic goes on until a completion with an error comes. From then on nothing new is sent;
 * what is under way has the grace time to end in whatever way, then all queue pairs that are left are put into the error state, as an
 * application would do, and every request must have its completion soon after.
 */
#include "soak.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct totals totals;

static double began, last_completion, failing_since;
static bool bye_came, bye_sent, all_failed;
static bool retries_ran_out, quiet_at_failure;

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

uint64_t token_of(int qp, bool receive, uint32_t number)
{
	return (uint64_t)qp << 32 | (uint64_t)receive << 31 | (number & 0x7fffffff);
}

struct token token(uint64_t wr_id)
{
	return (struct token){ (int)(wr_id >> 32), wr_id >> 31 & 1, wr_id & 0x7fffffff };
}

bool is_reliable(int qp)
{
	return qp <= (int)soak.terms.rc;
}

bool time_is_over(void)
{
	uint64_t sent = totals.uc.sent + totals.ud.sent;

	for (int kind = 0; kind < KINDS; kind++)
		sent += totals.messages[kind];
	return now() - began > soak.terms.seconds || (soak.terms.messages && sent >= soak.terms.messages);
}

void dispatch_message(enum message_type type, int qp, uint64_t number)
{
	if (totals.failing)
		return;
	if (type == BYE)
		bye_came = true;
	else if (!qp)
		die("control: message %d about no QP", type);
	else if (is_reliable(qp))
		reliable_message(type, qp, number);
	else
		lossy_message(type, qp, number);
}

/* What was expected has come: nothing new is sent, and what is under way ends. */
static void fail(void)
{
	if (!totals.failing)
		failing_since = now();
	totals.failing = true;
}

void completion_error(const struct ibv_wc *wc, const char *what)
{
	if (!soak.expects_errors)
		die("QP %d: %s completed with %s (vendor error %#x)", token(wc->wr_id).qp, what, ibv_wc_status_str(wc->status), wc->vendor_err);
	if (wc->status == IBV_WC_WR_FLUSH_ERR) {
		totals.flushed++;
	} else {
		totals.errors++;
		retries_ran_out |= wc->status == IBV_WC_RETRY_EXC_ERR;
		printf("%.1f s: QP %d: %s completed with %s\n", now() - began, token(wc->wr_id).qp, what, ibv_wc_status_str(wc->status));
	}
	fail();
}

static void dispatch(const struct ibv_wc *wc)
{
	struct token token_ = token(wc->wr_id);

	if (token_.qp > soak.qps)
		die("a completion of QP %d, which there is not", token_.qp);
	if (!token_.qp)
		control_completion(wc, token_);
	else if (is_reliable(token_.qp))
		reliable_completion(wc, token_);
	else
		lossy_completion(wc, token_);
}

/* Takes all completions there are. */
static bool drain(void)
{
	struct ibv_wc wc[16];
	bool any = false;
	int count;

	while ((count = ibv_poll_cq(soak.cq, 16, wc)) > 0) {
		double time = now();

		if (last_completion && time - last_completion > totals.longest_pause)
			totals.longest_pause = time - last_completion;
		last_completion = time;
		for (int i = 0; i < count; i++)
			dispatch(&wc[i]);
		any = true;
	}
	if (count < 0)
		die("cannot poll the CQ");
	return any;
}

static bool every(bool (*reliable)(int), bool (*lossy)(int))
{
	for (int qp = 1; qp <= soak.qps; qp++)
		if (!(is_reliable(qp) ? reliable(qp) : lossy(qp)))
			return false;
	return true;
}

static void asynchronous_event(void)
{
	struct ibv_async_event event;

	if (ibv_get_async_event(soak.context, &event))
		return;
	printf("%.1f s: event: %s\n", now() - began, ibv_event_type_str(event.event_type));
	/* The hardware or the driver was taken away: what is left has no device to complete on. */
	if (soak.device_may_go && event.event_type == IBV_EVENT_DEVICE_FATAL) {
		printf("soak: PASS: the device went away, as expected, after %.1f MB (seed %lu)\n", totals.bytes_out / 1e6, soak.terms.seed);
		fflush(stdout);
		_exit(0);
	}
	if (event.event_type == IBV_EVENT_DEVICE_FATAL ||
	    (!soak.expects_errors && (event.event_type == IBV_EVENT_QP_FATAL || event.event_type == IBV_EVENT_CQ_ERR)))
		die("event: %s", ibv_event_type_str(event.event_type));
	/* With nothing of ours under way no completion will ever say so: the peer owes us the next message. */
	if (soak.expects_errors && event.event_type == IBV_EVENT_PORT_ERR) {
		quiet_at_failure |= !totals.failing && control_is_quiet() && every(reliable_is_quiet, lossy_is_quiet);
		fail();
	}
	ibv_ack_async_event(&event);
}

/* Until something comes, or a tenth of a second is over. */
static void wait_for_events(void)
{
	struct pollfd fds[] = { { .fd = soak.channel->fd, .events = POLLIN }, { .fd = soak.context->async_fd, .events = POLLIN } };
	struct ibv_cq *cq;
	void *context;

	if (ibv_req_notify_cq(soak.cq, 0)) {
		/* The device may have gone, which an event says: after all that was ours has been taken down. */
		while (soak.device_may_go && poll(&fds[1], 1, soak.hang_seconds * 1000) > 0)
			asynchronous_event();
		die("cannot arm the CQ");
	}
	/* What came before it was armed makes no event. */
	if (drain())
		return;
	if (poll(fds, 2, 100) < 0 && errno != EINTR)
		die("poll: %s", strerror(errno));
	if (fds[0].revents && !ibv_get_cq_event(soak.channel, &cq, &context))
		ibv_ack_cq_events(cq, 1);
	if (fds[1].revents)
		asynchronous_event();
}

static void report_all(void)
{
	for (int qp = 1; qp <= soak.qps; qp++)
		is_reliable(qp) ? reliable_report(qp) : lossy_report(qp);
}

/* All has been sent, checked and said. */
static bool has_ended(void)
{
	if (!bye_sent && every(reliable_is_done, lossy_is_done)) {
		control_send(BYE, 0, 0);
		bye_sent = true;
	}
	return bye_sent && bye_came && control_is_quiet();
}

/* True when every request has its completion. */
static bool has_failed(void)
{
	double since = now() - failing_since;

	if (control_is_idle() && every(reliable_is_idle, lossy_is_idle))
		return true;
	if (!all_failed && since > soak.grace_seconds) {
		for (int qp = 1; qp <= soak.qps; qp++)
			is_reliable(qp) ? reliable_fail(qp) : lossy_fail(qp);
		control_fail();
		all_failed = true;
	}
	if (since > soak.grace_seconds + soak.hang_seconds) {
		report_all();
		die("requests without completion %d s after their QPs were put into the error state", soak.hang_seconds);
	}
	return false;
}

static void progress(void)
{
	static double next;
	uint64_t messages = totals.uc.received + totals.ud.received;

	if (now() < next)
		return;
	next = now() + 10;
	for (int kind = 0; kind < KINDS; kind++)
		messages += totals.messages[kind];
	printf("%4.0f s: %lu messages, %.1f MB out, %.1f MB in, longest pause %.0f ms\n", now() - began, messages, totals.bytes_out / 1e6,
	       totals.bytes_in / 1e6, totals.longest_pause * 1e3);
	fflush(stdout);
}

static void watch(void)
{
	progress();
	if (totals.failing || now() - last_completion < soak.hang_seconds)
		return;
	report_all();
	die("nothing has completed for %d s", soak.hang_seconds);
}

void run(void)
{
	began = last_completion = now();
	fcntl(soak.channel->fd, F_SETFL, O_NONBLOCK);
	for (int qp = 1; qp <= soak.qps; qp++)
		is_reliable(qp) ? reliable_start(qp) : lossy_start(qp);
	while (totals.failing ? !has_failed() : !has_ended()) {
		wait_for_events();
		drain();
		for (int qp = (int)soak.terms.rc + 1; qp <= soak.qps; qp++)
			lossy_tick(qp);
		watch();
	}
	if (!soak.expects_errors)
		return;
	if (!totals.failing)
		die("errors were expected, and none came");
	if (!retries_ran_out && !quiet_at_failure)
		die("no request completed because its retries had run out");
}
