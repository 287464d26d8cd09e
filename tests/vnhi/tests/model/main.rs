// SPDX-License-Identifier: GPL-2.0-only

//! The model of the fabric, driven by fake guests that do what the thunderbolt driver does: rings in memory, registers
//! through BAR 0, control packets, paths. No socket and no virtual machine.

mod control;
mod driver;
mod faults;
mod frames;
mod hostile;
mod interrupts;
mod links;
mod world;
