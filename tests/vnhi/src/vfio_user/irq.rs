// SPDX-License-Identifier: GPL-2.0-only

//! Interrupt vectors of a device: the eventfds that reach the guest, masks, and what is pending.
//!
//! A vector that fires while it is masked, or while the client has set no eventfd for it, is kept pending and signalled as soon as both are in order. QEMU depends on
//! it: it takes all eventfds away and sets them again whenever the guest starts to use one more vector.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::message::{
    SetIrqs, IRQ_ACTION_MASK, IRQ_ACTION_TRIGGER, IRQ_ACTION_UNMASK, IRQ_DATA_BOOL,
    IRQ_DATA_EVENTFD, IRQ_DATA_NONE,
};

/// One interrupt vector.
#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<OwnedFd>,
    masked: bool,
    pending: bool,
}

impl Vector {
    fn fire(&mut self) {
        self.pending = true;
        self.settle();
    }

    /// Signals what is pending, if nothing is in the way.
    fn settle(&mut self) {
        let Some(eventfd) = self.eventfd.as_ref().filter(|_| !self.masked) else {
            return;
        };
        if std::mem::take(&mut self.pending) {
            // EAGAIN: the counter is full, so the guest has a signal waiting. Nothing else can fail on an eventfd.
            let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
        }
    }
}

/// All vectors of a device.
#[derive(Debug)]
pub struct Vectors {
    vectors: Vec<Vector>,
}

impl Vectors {
    /// `count` vectors, none of them set up.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self {
            vectors: (0..count).map(|_| Vector::default()).collect(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.vectors.len()).unwrap_or(u32::MAX)
    }

    /// The device fires a vector. One that does not exist is nothing: the guest chose the number.
    pub fn fire(&mut self, vector: u16) {
        if let Some(vector) = self.vectors.get_mut(usize::from(vector)) {
            vector.fire();
        }
    }

    /// The vectors that wait, one bit each: what a PCI function shows in its pending bit array.
    #[must_use]
    pub fn pending_bits(&self) -> u64 {
        self.vectors
            .iter()
            .zip(0u32..64)
            .fold(0, |bits, (vector, index)| {
                bits | u64::from(vector.pending) << index
            })
    }

    /// Device reset: nothing is pending or masked. Eventfds stay, they belong to the connection.
    pub fn reset(&mut self) {
        for vector in &mut self.vectors {
            vector.pending = false;
            vector.masked = false;
        }
    }

    /// Serves SET_IRQS for these vectors.
    ///
    /// # Errors
    ///
    /// `EINVAL` when range, flags, data and file descriptors do not fit each other.
    pub fn set(&mut self, request: &SetIrqs, data: &[u8], fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let flags = request.flags.get();
        let (start, count) = (request.start.get(), request.count.get());
        if flags == IRQ_DATA_NONE | IRQ_ACTION_TRIGGER && count == 0 {
            for vector in &mut self.vectors {
                vector.eventfd = None;
            }
            return Ok(());
        }
        let range = usize::try_from(start).ok().zip(usize::try_from(count).ok());
        let vectors = range
            .and_then(|(start, count)| self.vectors.get_mut(start..start.checked_add(count)?))
            .ok_or(Errno::INVAL)?;
        if flags == IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER {
            return set_eventfds(vectors, fds);
        }
        let act = match flags & !(IRQ_DATA_NONE | IRQ_DATA_BOOL) {
            IRQ_ACTION_MASK => |vector: &mut Vector| vector.masked = true,
            IRQ_ACTION_UNMASK => |vector: &mut Vector| {
                vector.masked = false;
                vector.settle();
            },
            IRQ_ACTION_TRIGGER => Vector::fire,
            _ => return Err(Errno::INVAL),
        };
        match flags & (IRQ_DATA_NONE | IRQ_DATA_BOOL) {
            IRQ_DATA_NONE => vectors.iter_mut().for_each(act),
            IRQ_DATA_BOOL if data.len() == vectors.len() => {
                let chosen = vectors.iter_mut().zip(data).filter(|(_, &yes)| yes != 0);
                chosen.for_each(|(vector, _)| act(vector));
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }
}

/// Gives each vector its eventfd, or takes those of all of them.
fn set_eventfds(vectors: &mut [Vector], fds: Vec<OwnedFd>) -> Result<(), Errno> {
    if fds.is_empty() {
        for vector in vectors {
            vector.eventfd = None;
        }
        return Ok(());
    }
    if fds.len() != vectors.len() {
        return Err(Errno::INVAL);
    }
    for fd in &fds {
        prepare_eventfd(fd)?;
    }
    for (vector, fd) in vectors.iter_mut().zip(fds) {
        vector.eventfd = Some(fd);
        vector.settle();
    }
    Ok(())
}

/// Makes sure that a write to `fd` neither blocks this process nor does anything but signal.
fn prepare_eventfd(fd: &OwnedFd) -> Result<(), Errno> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match std::fs::read_link(link) {
        Ok(target) if target.as_os_str() == "anon_inode:[eventfd]" => {}
        _ => return Err(Errno::INVAL),
    }
    let flags = rustix::fs::fcntl_getfl(fd.as_fd())?;
    if !flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(fd.as_fd(), flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{eventfd, EventfdFlags};

    fn set(
        vectors: &mut Vectors,
        flags: u32,
        start: u32,
        count: u32,
        data: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<(), Errno> {
        let request = SetIrqs {
            argsz: 20.into(),
            flags: flags.into(),
            index: 2.into(),
            start: start.into(),
            count: count.into(),
        };
        vectors.set(&request, data, fds)
    }

    fn event() -> OwnedFd {
        eventfd(0, EventfdFlags::empty()).unwrap()
    }

    /// How often an eventfd was signalled since the last look.
    fn signals(fd: &OwnedFd) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(fd, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            Err(Errno::AGAIN) => 0,
            other => panic!("{other:?}"),
        }
    }

    const EVENTFD: u32 = IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER;

    fn with_eventfd(vector: u32) -> (Vectors, OwnedFd) {
        let mut vectors = Vectors::new(16);
        let fd = event();
        let ours = fd.try_clone().unwrap();
        set(&mut vectors, EVENTFD, vector, 1, &[], vec![ours]).unwrap();
        (vectors, fd)
    }

    #[test]
    fn a_vector_signals_its_eventfd() {
        let (mut vectors, fd) = with_eventfd(3);
        vectors.fire(3);
        vectors.fire(3);
        vectors.fire(4);
        vectors.fire(99);
        assert_eq!(signals(&fd), 2);
        assert_eq!(vectors.pending_bits(), 1 << 4);
    }

    #[test]
    fn what_fires_without_eventfd_is_kept_and_signalled_once() {
        let mut vectors = Vectors::new(16);
        vectors.fire(1);
        vectors.fire(1);
        assert_eq!(vectors.pending_bits(), 2);
        let fds = [event(), event()];
        let ours = fds.iter().map(|fd| fd.try_clone().unwrap()).collect();
        set(&mut vectors, EVENTFD, 0, 2, &[], ours).unwrap();
        assert_eq!((signals(&fds[0]), signals(&fds[1])), (0, 1));
        assert_eq!(vectors.pending_bits(), 0);
    }

    #[test]
    fn eventfds_can_be_taken_away() {
        let (mut vectors, fd) = with_eventfd(3);
        set(&mut vectors, EVENTFD, 3, 1, &[], vec![]).unwrap();
        vectors.fire(3);
        assert_eq!(signals(&fd), 0);
        let ours = fd.try_clone().unwrap();
        set(&mut vectors, EVENTFD, 3, 1, &[], vec![ours]).unwrap();
        assert_eq!(signals(&fd), 1);
        set(
            &mut vectors,
            IRQ_DATA_NONE | IRQ_ACTION_TRIGGER,
            0,
            0,
            &[],
            vec![],
        )
        .unwrap();
        vectors.fire(3);
        assert_eq!(signals(&fd), 0);
    }

    #[test]
    fn a_masked_vector_waits() {
        let (mut vectors, fd) = with_eventfd(0);
        set(
            &mut vectors,
            IRQ_DATA_NONE | IRQ_ACTION_MASK,
            0,
            2,
            &[],
            vec![],
        )
        .unwrap();
        vectors.fire(0);
        assert_eq!((signals(&fd), vectors.pending_bits()), (0, 1));
        set(
            &mut vectors,
            IRQ_DATA_BOOL | IRQ_ACTION_UNMASK,
            0,
            2,
            &[0, 1],
            vec![],
        )
        .unwrap();
        assert_eq!(signals(&fd), 0);
        set(
            &mut vectors,
            IRQ_DATA_BOOL | IRQ_ACTION_UNMASK,
            0,
            2,
            &[1, 0],
            vec![],
        )
        .unwrap();
        assert_eq!((signals(&fd), vectors.pending_bits()), (1, 0));
    }

    #[test]
    fn a_client_can_fire_vectors_itself() {
        let (mut vectors, fd) = with_eventfd(0);
        set(
            &mut vectors,
            IRQ_DATA_NONE | IRQ_ACTION_TRIGGER,
            0,
            1,
            &[],
            vec![],
        )
        .unwrap();
        assert_eq!(signals(&fd), 1);
    }

    #[test]
    fn reset_forgets_what_is_pending() {
        let mut vectors = Vectors::new(16);
        vectors.fire(1);
        vectors.reset();
        assert_eq!(vectors.pending_bits(), 0);
    }

    #[test]
    fn a_full_counter_does_not_block() {
        let (mut vectors, fd) = with_eventfd(0);
        rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        vectors.fire(0);
        assert_eq!(signals(&fd), u64::MAX - 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut vectors = Vectors::new(16);
        let none = IRQ_DATA_NONE | IRQ_ACTION_TRIGGER;
        for (flags, start, count, data) in [
            (none, 16, 1, &[][..]),
            (none, 0, 17, &[]),
            (none, u32::MAX, u32::MAX, &[]),
            (none | IRQ_ACTION_MASK, 0, 1, &[]),
            (IRQ_DATA_NONE, 0, 1, &[]),
            (IRQ_ACTION_MASK, 0, 1, &[]),
            (IRQ_DATA_BOOL | IRQ_ACTION_MASK, 0, 2, &[1]),
            (IRQ_DATA_EVENTFD | IRQ_ACTION_MASK, 0, 1, &[]),
            (0xffff_ffff, 0, 1, &[]),
        ] {
            let refused = set(&mut vectors, flags, start, count, data, vec![]);
            assert_eq!(refused, Err(Errno::INVAL), "{flags:#x} {start} {count}");
        }
        let refused = set(&mut vectors, EVENTFD, 0, 2, &[], vec![event()]);
        assert_eq!(refused, Err(Errno::INVAL));
    }

    #[test]
    fn only_eventfds_are_taken() {
        let mut vectors = Vectors::new(16);
        let file = std::fs::File::open("/dev/null").unwrap();
        let refused = set(&mut vectors, EVENTFD, 0, 1, &[], vec![file.into()]);
        assert_eq!(refused, Err(Errno::INVAL));
        let (write, _read) = std::os::unix::net::UnixStream::pair().unwrap();
        let refused = set(&mut vectors, EVENTFD, 0, 1, &[], vec![write.into()]);
        assert_eq!(refused, Err(Errno::INVAL));
    }
}
