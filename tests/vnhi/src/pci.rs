// SPDX-License-Identifier: GPL-2.0-only

//! The PCI function that a host router is: its configuration space, and BAR 2 with the MSI-X table.
//!
//! ```text
//!  config 0x00  vendor 1b36, device 4e48, class 0c0340 (USB4 host interface)
//!         0x10  BAR 0: 64 bit, 256 KiB, the NHI registers      0x18  BAR 2: 32 bit, 4 KiB
//!         0x40  MSI-X: 16 vectors, table at BAR 2 + 0, pending bits at BAR 2 + 0x800
//! ```
//!
//! The ids are none that thunderbolt.ko knows: it binds through the class, as to any controller that follows the USB4 specification, and applies no quirk.
//! QEMU emulates what concerns the guest's address space (BAR sizing, the MSI-X table itself) and forwards the rest here.

/// BAR 0: the registers of the NHI.
pub const NHI_BAR_SIZE: u64 = 0x4_0000;
/// BAR 2: MSI-X table and pending bits.
pub const MSIX_BAR_SIZE: u64 = 0x1000;
/// Configuration space of a conventional PCI function.
pub const CONFIG_SIZE: usize = 256;
/// MSI-X vectors.
pub const VECTORS: u16 = 16;

const VENDOR: u16 = 0x1b36;
const DEVICE: u16 = 0x4e48;
const CLASS: u32 = 0x0c_0340;
const MSIX_CAPABILITY: u8 = 0x40;
const MSIX_ENTRY_SIZE: usize = 16;
const TABLE_SIZE: usize = MSIX_ENTRY_SIZE * VECTORS as usize;
const PENDING_BITS: u32 = 0x800;

/// State of the function.
#[derive(Clone, Debug)]
pub struct Function {
    config: [u8; CONFIG_SIZE],
    /// Bits of `config` that a guest may change.
    writable: [u8; CONFIG_SIZE],
    table: [u8; TABLE_SIZE],
}

impl Default for Function {
    fn default() -> Self {
        let mut function = Self {
            config: [0; CONFIG_SIZE],
            writable: [0; CONFIG_SIZE],
            table: [0; TABLE_SIZE],
        };
        function.define(0x00, &VENDOR.to_le_bytes(), &[]);
        function.define(0x02, &DEVICE.to_le_bytes(), &[]);
        // Command: memory space, bus master, parity, SERR, no INTx.
        function.define(0x04, &[0; 2], &0x0546u16.to_le_bytes());
        // Status: there are capabilities.
        function.define(0x06, &0x0010u16.to_le_bytes(), &[]);
        // Revision 0, then the class.
        function.define(0x08, &(CLASS << 8).to_le_bytes(), &[]);
        // Cache line size and latency timer mean nothing and can be written.
        function.define(0x0c, &[0; 4], &[0xff, 0xff, 0, 0]);
        // BAR 0: memory, 64 bit, not prefetchable. BAR 2: memory, 32 bit.
        let nhi_mask = !(NHI_BAR_SIZE - 1);
        function.define(0x10, &4u64.to_le_bytes(), &nhi_mask.to_le_bytes());
        let msix_mask = !(MSIX_BAR_SIZE - 1);
        function.define(0x18, &0u32.to_le_bytes(), &msix_mask.to_le_bytes()[..4]);
        // Subsystem: the same.
        function.define(0x2c, &VENDOR.to_le_bytes(), &[]);
        function.define(0x2e, &DEVICE.to_le_bytes(), &[]);
        function.define(0x34, &[MSIX_CAPABILITY], &[]);
        function.define(0x3c, &[0], &[0xff]);
        // MSI-X: id and end of the list; size; table and pending bits, both in BAR 2.
        let capability = usize::from(MSIX_CAPABILITY);
        function.define(capability, &[0x11, 0], &[]);
        let control = (VECTORS - 1).to_le_bytes();
        function.define(capability + 2, &control, &0xc000u16.to_le_bytes());
        function.define(capability + 4, &2u32.to_le_bytes(), &[]);
        let pending = (PENDING_BITS | 2).to_le_bytes();
        function.define(capability + 8, &pending, &[]);
        // After a reset every vector is masked in its table entry.
        for entry in function.table.chunks_exact_mut(MSIX_ENTRY_SIZE) {
            entry[12] = 1;
        }
        function
    }
}

impl Function {
    fn define(&mut self, at: usize, value: &[u8], writable: &[u8]) {
        self.config[at..at + value.len()].copy_from_slice(value);
        self.writable[at..at + writable.len()].copy_from_slice(writable);
    }

    /// Reads configuration space; nothing is changed when the range is not all inside.
    #[must_use]
    pub fn read_config(&self, offset: u64, data: &mut [u8]) -> bool {
        let Some(source) = range(offset, data.len()).and_then(|range| self.config.get(range))
        else {
            return false;
        };
        data.copy_from_slice(source);
        true
    }

    /// Writes configuration space, as far as it is writable.
    #[must_use]
    pub fn write_config(&mut self, offset: u64, data: &[u8]) -> bool {
        let Some(range) = range(offset, data.len()).filter(|range| range.end <= CONFIG_SIZE) else {
            return false;
        };
        let masks = &self.writable[range.clone()];
        for ((byte, mask), new) in self.config[range].iter_mut().zip(masks).zip(data) {
            *byte = (*byte & !mask) | (new & mask);
        }
        true
    }

    /// Reads BAR 2. `pending` are the vectors that wait.
    #[must_use]
    pub fn read_msix(&self, offset: u64, data: &mut [u8], pending: u64) -> bool {
        let Some(range) = range(offset, data.len())
            .filter(|range| u64::try_from(range.end).is_ok_and(|end| end <= MSIX_BAR_SIZE))
        else {
            return false;
        };
        let pending = pending.to_le_bytes();
        for (at, byte) in range.zip(data) {
            let pending_byte = at.checked_sub(PENDING_BITS as usize);
            *byte = match (self.table.get(at), pending_byte) {
                (Some(byte), _) => *byte,
                (None, Some(at)) => pending.get(at).copied().unwrap_or(0),
                (None, None) => 0,
            };
        }
        true
    }

    /// Writes BAR 2: only the table takes it.
    #[must_use]
    pub fn write_msix(&mut self, offset: u64, data: &[u8]) -> bool {
        let Some(range) = range(offset, data.len())
            .filter(|range| u64::try_from(range.end).is_ok_and(|end| end <= MSIX_BAR_SIZE))
        else {
            return false;
        };
        for (at, new) in range.zip(data) {
            if let Some(byte) = self.table.get_mut(at) {
                *byte = *new;
            }
        }
        true
    }
}

/// The bytes an access touches, if that is a range at all.
fn range(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(function: &Function, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        assert!(function.read_config(offset, &mut bytes));
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn it_is_a_usb4_host_interface() {
        let function = Function::default();
        assert_eq!(config(&function, 0), 0x4e48_1b36);
        assert_eq!(config(&function, 8), 0x0c03_4000);
        assert_eq!(config(&function, 4) >> 16, 0x0010);
        assert_eq!(config(&function, 0x34), 0x40);
        assert_eq!(config(&function, 0x40), 0x000f_0011);
        assert_eq!(config(&function, 0x44), 2);
        assert_eq!(config(&function, 0x48), 0x802);
    }

    #[test]
    fn bars_can_be_sized() {
        let mut function = Function::default();
        assert!(function.write_config(0x10, &[0xff; 12]));
        assert_eq!(config(&function, 0x10), 0xfffc_0004);
        assert_eq!(config(&function, 0x14), 0xffff_ffff);
        assert_eq!(config(&function, 0x18), 0xffff_f000);
        assert!(function.write_config(0x1c, &[0xff; 4]));
        assert_eq!(config(&function, 0x1c), 0);
    }

    #[test]
    fn ids_cannot_be_written_and_commands_can() {
        let mut function = Function::default();
        assert!(function.write_config(0, &[0xff; 8]));
        assert_eq!(config(&function, 0), 0x4e48_1b36);
        assert_eq!(config(&function, 4), 0x0010_0546);
        assert!(function.write_config(0x42, &[0x0f, 0xff]));
        assert_eq!(config(&function, 0x40), 0xc00f_0011);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let mut function = Function::default();
        assert!(!function.read_config(253, &mut [0; 4]));
        assert!(!function.read_config(u64::MAX, &mut [0; 4]));
        assert!(!function.write_config(256, &[0]));
        assert!(!function.write_config(u64::MAX, &[0]));
        assert!(!function.read_msix(0xffd, &mut [0; 4], 0));
        assert!(!function.write_msix(0x1000, &[0]));
    }

    #[test]
    fn the_msix_bar_has_a_table_and_pending_bits() {
        let mut function = Function::default();
        let mut word = [0; 4];
        assert!(function.read_msix(0xfc, &mut word, 0));
        assert_eq!(word, [1, 0, 0, 0]);
        assert!(function.write_msix(0xfc, &[0; 4]));
        assert!(function.read_msix(0xfc, &mut word, 0));
        assert_eq!(word, [0; 4]);
        assert!(function.read_msix(0x800, &mut word, 0x8001));
        assert_eq!(word, [1, 0x80, 0, 0]);
        assert!(function.write_msix(0x800, &[0xff; 4]));
        assert!(function.read_msix(0x800, &mut word, 0));
        assert_eq!(word, [0; 4]);
        assert!(function.read_msix(0x400, &mut word, 0));
        assert_eq!(word, [0; 4]);
    }
}
