// SPDX-License-Identifier: GPL-2.0-only

//! Numbers for objects that are only compared, never looked up.

use kernel::id_pool::IdPool;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};

/// A pool of numbers. No two objects alive have the same.
#[pin_data]
pub struct Numbers {
    #[pin]
    pool: Mutex<IdPool>,
    lowest: u32,
    most: usize,
}

impl Numbers {
    /// At most `most` numbers from `lowest` on.
    pub fn new(lowest: u32, most: usize) -> impl PinInit<Self> {
        pin_init!(Self {
            pool <- new_mutex!(IdPool::new()),
            lowest,
            most,
        })
    }

    /// Takes a free number.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are too many objects, as upstream answers; `ENOMEM`.
    pub fn take(&self) -> Result<u32> {
        let mut pool = self.pool.lock();
        loop {
            if let Some(free) = pool.find_unused_id(0) {
                if free.as_usize() >= self.most {
                    return Err(EINVAL);
                }
                let number = self.lowest.checked_add(free.as_u32()).ok_or(EINVAL)?;
                free.acquire();
                return Ok(number);
            }
            let larger = pool.grow_request().ok_or(EINVAL)?.realloc(GFP_KERNEL)?;
            pool.grow(larger);
        }
    }

    /// Gives a number back.
    pub fn put(&self, number: u32) {
        self.pool
            .lock()
            .release_id(number.wrapping_sub(self.lowest) as usize);
    }
}
