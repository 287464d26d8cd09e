// SPDX-License-Identifier: GPL-2.0-only
#include <linux/spinlock.h>
#include <linux/bottom_half.h>
#include <rdma/ib_verbs.h>

void rust_helper_local_bh_disable(void) { local_bh_disable(); }
void rust_helper_local_bh_enable(void) { local_bh_enable(); }
unsigned long rust_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}
void rust_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags) { spin_unlock_irqrestore(lock, flags); }

/* Tells the user of a queue pair about an event. */
void usb4_rxe_qp_event(struct ib_qp *qp, enum ib_event_type type)
{
	struct ib_event event = { .device = qp->device, .element.qp = qp, .event = type };

	if (qp->event_handler)
		qp->event_handler(&event, qp->qp_context);
}
