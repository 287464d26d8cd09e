// SPDX-License-Identifier: GPL-2.0-only

//! The rails allocate nothing: a counting allocator watches a million packets.

#![allow(clippy::cast_possible_truncation)] // test data is small

#[path = "support/rails.rs"]
mod rails;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rails::{Rails, BATCH, HEAD};

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
    let mut rails = Rails::new();
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the allocator counts");
    let batches = 1_000_000 / BATCH as u64 + 1;
    for _ in 0..batches {
        rails.batch(&[7; HEAD]);
        rails.small(&[7; 142]);
    }
    assert_eq!(ALLOCATIONS.get(), before);
    let packets = batches * (BATCH as u64 + 1);
    assert_eq!(rails.there.packets, packets);
    let bytes = batches * (BATCH as u64 * (HEAD as u64 + 4096) + 142);
    assert_eq!(rails.there.bytes, bytes);
}
