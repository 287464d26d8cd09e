// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for many file descriptors at once: epoll, with tokens in place of numbers.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::event::Timespec;
use rustix::io::Errno;

/// Ready file descriptors taken at once; the rest come with the next call.
const BATCH: usize = 64;

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A signal asks us to end.
    Signal,
    /// Somebody connects to the control socket.
    ControlListener,
    /// A client of the control socket, by slot.
    ControlClient(u32),
    /// A machine connects to a host router, by index.
    NhiListener(u32),
    /// The machine at a host router, by index.
    Nhi(u32),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, index) = match self {
            Token::Signal => (0, 0),
            Token::ControlListener => (1, 0),
            Token::ControlClient(index) => (2, index),
            Token::NhiListener(index) => (3, index),
            Token::Nhi(index) => (4, index),
        };
        kind << 32 | u64::from(index)
    }

    fn unpack(data: u64) -> Self {
        // The low half is the index as packed.
        #[allow(clippy::cast_possible_truncation)]
        let index = data as u32;
        match data >> 32 {
            0 => Token::Signal,
            1 => Token::ControlListener,
            2 => Token::ControlClient(index),
            3 => Token::NhiListener(index),
            _ => Token::Nhi(index),
        }
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or a client to accept.
    Input,
    /// Room to write.
    Output,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Interest::Input => epoll::EventFlags::IN,
            Interest::Output => epoll::EventFlags::OUT,
        }
    }
}

/// The set of file descriptors. One that is closed leaves it by itself.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// When the kernel has no more file descriptors for us.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Adds a file descriptor.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl`.
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(token.pack());
        epoll::add(&self.epoll, fd, data, interest.flags())
    }

    /// Changes what to wait for.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl`.
    pub fn change(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(token.pack());
        epoll::modify(&self.epoll, fd, data, interest.flags())
    }

    /// Removes a file descriptor that stays open.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl`.
    pub fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.epoll, fd)
    }

    /// Waits until something is ready or the time is over, and puts who is ready into `ready`.
    ///
    /// # Errors
    ///
    /// Those of `epoll_wait`, but not `EINTR`.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Token>) -> Result<(), Errno> {
        ready.clear();
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut events = [MaybeUninit::uninit(); BATCH];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        ready.extend(events.iter().map(|event| Token::unpack(event.data.u64())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Signal,
            Token::ControlListener,
            Token::ControlClient(7),
            Token::NhiListener(u32::MAX),
            Token::Nhi(0),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }

    #[test]
    fn who_is_ready_is_told() {
        let poller = Poller::new().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut ready = vec![Token::Signal];
        poller.add(&far, Token::Nhi(3), Interest::Input).unwrap();
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert_eq!(ready, []);
        near.write_all(b"x").unwrap();
        poller.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [Token::Nhi(3)]);
        poller
            .change(&far, Token::Nhi(3), Interest::Output)
            .unwrap();
        poller.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [Token::Nhi(3)]);
        poller.remove(&far).unwrap();
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert_eq!(ready, []);
    }

    #[test]
    fn short_times_are_kept() {
        let poller = Poller::new().unwrap();
        let begin = std::time::Instant::now();
        poller
            .wait(Some(Duration::from_micros(100)), &mut Vec::new())
            .unwrap();
        assert!(begin.elapsed() >= Duration::from_micros(100));
    }
}
