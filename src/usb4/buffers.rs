// SPDX-License-Identifier: GPL-2.0-only

//! Pages that host routers read and write.
//!
//! A page holds one frame. [`Pages`] owns them; a [`Mapping`] makes all of them reachable for one
//! device, once, so that posting a frame maps nothing.

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::Arc;

use super::rail::FRAME_SIZE;

/// Pages of [`FRAME_SIZE`] bytes.
///
/// # Invariants
///
/// Every pointer is to a page of its own.
pub struct Pages(KVVec<NonNull<u8>>);

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Pages {}
// SAFETY: The type itself never reads or writes a page; who does says why it may.
unsafe impl Sync for Pages {}

const _: () = assert!(FRAME_SIZE == kernel::page::PAGE_SIZE);

impl Pages {
    /// `count` pages, zeroed. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn alloc(count: usize) -> Result<Arc<Self>> {
        let mut pages = Self(KVVec::with_capacity(count, GFP_KERNEL)?);
        for _ in 0..count {
            // SAFETY: Has no requirements.
            let page = unsafe { compat::usb4_rxe_dma_page_alloc() };
            let page = NonNull::new(page.cast()).ok_or(ENOMEM)?;
            // INVARIANT: New.
            pages.0.push(page, GFP_KERNEL)?;
        }
        Ok(Arc::new(pages, GFP_KERNEL)?)
    }

    /// Where a page is. There are [`FRAME_SIZE`] bytes, as long as `self` lives.
    #[inline]
    pub fn get(&self, index: usize) -> Option<NonNull<u8>> {
        self.0.get(index).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for page in &self.0 {
            // SAFETY: Allocated in `alloc`; nobody has it any more. Mappings hold the pages, so no
            // device reaches them.
            unsafe { compat::usb4_rxe_dma_page_free(page.as_ptr().cast()) };
        }
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The device reads.
    ToDevice,
    /// The device writes.
    FromDevice,
}

impl Direction {
    const fn raw(self) -> compat::dma_data_direction {
        match self {
            Self::ToDevice => compat::dma_data_direction_DMA_TO_DEVICE,
            Self::FromDevice => compat::dma_data_direction_DMA_FROM_DEVICE,
        }
    }
}

/// Pages as a device sees them.
///
/// # Invariants
///
/// The device is held. `addresses` are what it calls the first pages of `pages`.
pub struct Mapping {
    device: *mut compat::device,
    pages: Arc<Pages>,
    direction: Direction,
    addresses: KVVec<compat::dma_addr_t>,
    is_direct: bool,
}

// SAFETY: A reference to a device belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: The functions of the DMA API may be called from any thread.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes all pages reachable for a device. Sleeps.
    ///
    /// # Safety
    ///
    /// `device` is valid during the call. It stays on its bus until the mapping is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EIO` if the device cannot reach a page.
    pub unsafe fn new(
        device: *mut compat::device,
        pages: Arc<Pages>,
        direction: Direction,
    ) -> Result<Self> {
        let addresses = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
        // SAFETY: As our caller promises.
        let is_direct = unsafe {
            compat::get_device(device);
            compat::usb4_rxe_dma_is_direct(device)
        };
        // INVARIANT: Held just now; no pages are mapped yet.
        let mut mapping = Self {
            device,
            pages,
            direction,
            addresses,
            is_direct,
        };
        let Self {
            pages, addresses, ..
        } = &mut mapping;
        for page in &pages.0 {
            let mut address = 0;
            // SAFETY: The device is held, the page lives as long as the mapping.
            let mapped = unsafe {
                compat::usb4_rxe_dma_map(
                    device,
                    page.as_ptr().cast(),
                    FRAME_SIZE,
                    direction.raw(),
                    &mut address,
                )
            };
            if !mapped {
                return Err(EIO);
            }
            // INVARIANT: The address of the next page.
            addresses.push(address, GFP_KERNEL)?;
        }
        Ok(mapping)
    }

    /// Whether the device reaches memory without having it mapped.
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Makes other memory reachable for the device.
    ///
    /// # Safety
    ///
    /// `len` bytes at `address`, in the kernel's linear mapping, stay until [`unmap`](Self::unmap).
    #[inline]
    pub unsafe fn map(&self, address: usize, len: usize) -> Option<compat::dma_addr_t> {
        let mut place = 0;
        // SAFETY: As our caller promises; the device is held.
        let mapped = unsafe {
            compat::usb4_rxe_dma_map(
                self.device,
                address as *mut _,
                len,
                self.direction.raw(),
                &mut place,
            )
        };
        mapped.then_some(place)
    }

    /// Undoes [`map`](Self::map).
    ///
    /// # Safety
    ///
    /// `address` is from `map`, with this `len`, and the device uses it no more.
    #[inline]
    pub unsafe fn unmap(&self, address: compat::dma_addr_t, len: usize) {
        // SAFETY: As our caller promises.
        unsafe { compat::usb4_rxe_dma_unmap(self.device, address, len, self.direction.raw()) };
    }

    /// What the device calls a page.
    #[inline]
    pub fn address(&self, index: usize) -> Option<compat::dma_addr_t> {
        self.addresses.get(index).copied()
    }

    /// Hands `len` bytes of a page over to the device.
    #[inline]
    pub fn give(&self, index: usize, len: usize) {
        if let Some(address) = self.address(index) {
            // SAFETY: Mapped for this device, which is held; `len` is no more than a page.
            unsafe {
                compat::dma_sync_single_for_device(
                    self.device,
                    address,
                    len.min(FRAME_SIZE),
                    self.direction.raw(),
                );
            }
        }
    }

    /// Takes `len` bytes of a page back from the device.
    #[inline]
    pub fn take(&self, index: usize, len: usize) {
        if let Some(address) = self.address(index) {
            // SAFETY: As in `give`.
            unsafe {
                compat::dma_sync_single_for_cpu(
                    self.device,
                    address,
                    len.min(FRAME_SIZE),
                    self.direction.raw(),
                );
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for address in &self.addresses {
            // SAFETY: Mapped in `new` for this device, which is held.
            unsafe { compat::usb4_rxe_dma_unmap(self.device, *address, FRAME_SIZE, self.direction.raw()) };
        }
        // SAFETY: By the type's invariants the reference is ours.
        unsafe { compat::put_device(self.device) };
    }
}
