// SPDX-License-Identifier: GPL-2.0-only

//! The smallest Rust module: it proves that the lab's prepared trees build modules which the stock kernels load.

use kernel::prelude::*;

module! {
    type: Probe,
    name: "lab_probe",
    authors: ["usb4_rxe developers"],
    description: "Proves that the prepared tree matches the stock kernel",
    license: "GPL",
}

struct Probe(KBox<u32>);

impl kernel::Module for Probe {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // An allocation, so that a symbol of the kernel's own Rust code has to match as well.
        let probe = Self(KBox::new(42, GFP_KERNEL)?);
        pr_info!("the answer is {}\n", *probe.0);
        Ok(probe)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        pr_info!("leaving with {}\n", *self.0);
    }
}
