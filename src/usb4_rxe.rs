// SPDX-License-Identifier: GPL-2.0-only
//! root
use kernel::prelude::*;
#[allow(dead_code, unused_imports, unreachable_pub)] mod rxe;
#[allow(dead_code, unused_imports, unreachable_pub)] mod usb4;
module! {
    type: Module,
    name: "usb4_rxe",
    authors: ["usb4_rxe developers"],
    description: "Soft RoCE over USB4 rings",
    license: "GPL",
}
struct Module;
impl kernel::Module for Module { fn init(_m: &'static ThisModule) -> Result<Self> { pr_info!("hi\n"); Ok(Self) } }
