// SPDX-License-Identifier: GPL-2.0-only

//! From the loop-back queue to queue pairs, and the port's softirq work.

use kernel::sync::{Arc, ArcBorrow};
use kernel::workqueue::{self, WorkItem};

use super::device::Device;
use super::lock::Bh;
use super::pieces::Pieces;
use super::qp::Qp;
use super::timer;
use crate::rxe::inbound::{delivery, Delivery};
use crate::rxe::time::Nanos;
use crate::rxe::wire::Headers;

/// Packets delivered before others get the CPU, and for how long: one packet may ask for a lot (FLUSH).
const DELIVER_AT_ONCE: u32 = 128;
const DELIVER_FOR: Nanos = Nanos::from_millis(1);
/// Queue pairs run before others get the CPU.
const RUN_AT_ONCE: u32 = 16;

/// Delivers what is queued for this host, unless somebody does already.
///
/// Call it after every call into a queue pair, with no lock held.
pub fn deliver(device: ArcBorrow<'_, Device>, bh: &Bh) {
    if device.loopback.begin_delivery(false) {
        go_on(device, bh);
    }
    if device.schedule.is_due() {
        start_work(device);
    }
}

/// Starts the port's work, unless it is about to run anyway.
pub fn start_work(device: ArcBorrow<'_, Device>) {
    // Enqueued twice is enqueued once.
    let _ = workqueue::system_bh().enqueue(Arc::from(device));
}

/// Delivers as the deliverer.
fn go_on(device: ArcBorrow<'_, Device>, bh: &Bh) {
    let mut left = DELIVER_AT_ONCE;
    let until = timer::now().after(DELIVER_FOR);
    while left > 0 && timer::now() < until {
        let Some(packet) = device.loopback.next() else {
            return;
        };
        left = left.saturating_sub(1);
        match Headers::parse(packet.head()).map(|headers| (delivery(&headers), headers)) {
            Ok((Delivery::One(qpn), _)) => match device.qps.get(bh, qpn.get()) {
                // Takes more packets from the queue while they are for it.
                Some(qp) => Qp::receive(qp, bh, packet, &mut left),
                None => device.loopback.put(packet),
            },
            Ok((Delivery::Group(gid), headers)) => {
                device.groups.for_each(bh, &gid, |qp| {
                    Qp::receive_one(qp, bh, &headers, &Pieces::new(packet.payload()));
                });
                device.loopback.put(packet);
            }
            Ok((Delivery::Nobody, _)) | Err(_) => device.loopback.put(packet),
        }
        device.schedule.room();
    }
    device.loopback.hand_over();
    start_work(device);
}

impl WorkItem for Device {
    type Pointer = Arc<Device>;

    /// The port's work, in softirq context.
    fn run(this: Arc<Device>) {
        let device = this.as_arc_borrow();
        let bh = Bh::disable();
        for _ in 0..RUN_AT_ONCE {
            let Some(qp) = device.schedule.next() else {
                break;
            };
            Qp::run(qp.as_arc_borrow(), &bh);
        }
        if device.loopback.begin_delivery(true) {
            go_on(device, &bh);
        }
        if device.schedule.is_due() {
            start_work(device);
        }
    }
}
