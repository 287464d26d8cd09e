// SPDX-License-Identifier: GPL-2.0-only

//! The engine allocates nothing: a counting allocator watches a million packets.

#![allow(clippy::cast_possible_truncation)] // test data is small

#[path = "support/lean.rs"]
mod lean;
#[path = "support/pair.rs"]
mod pair;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lean::{Lean, BATCH, LEN};
use usb4_rxe::rxe::time::Time;
use usb4_rxe::rxe::wire::Headers;

thread_local! {
    /// Allocations of this thread so far: the test runner's own are none of ours.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_million_packets_without_allocation() {
    const BATCHES: u64 = 1_000_000 / BATCH as u64 + 1;
    let (mut requester, mut responder) = lean::pair();
    let mut a = Box::new(Lean::new());
    let mut b = Box::new(Lean::new());
    let payload = vec![0u8; LEN];
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the allocator counts");
    for _ in 0..BATCHES {
        a.count = 0;
        b.count = 0;
        a.posted = BATCH;
        requester.run(Time::ZERO, 4 * BATCH as u32, &mut *a);
        for frame in &a.frames[..a.count] {
            let headers = Headers::parse(&frame.head).expect("good");
            let _ = responder.packet(Time::ZERO, &headers, &payload[..], &mut *b);
            responder.run(Time::ZERO, 8, &mut *b);
        }
        for frame in &b.frames[..b.count] {
            let headers = Headers::parse(&frame.head).expect("good");
            let _ = requester.packet(Time::ZERO, &headers, &[][..], &mut *a);
        }
    }
    let after = ALLOCATIONS.get();
    assert_eq!(a.completed, BATCHES * BATCH as u64);
    assert_eq!(b.stored, a.completed * LEN as u64);
    assert_eq!(after - before, 0, "allocations");
}
