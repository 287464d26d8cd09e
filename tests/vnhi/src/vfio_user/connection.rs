// SPDX-License-Identifier: GPL-2.0-only

//! A client's connection: takes what is there, serves it, and sends all replies of the batch at once. Never blocks.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{send, SendFlags};

use super::device::{Backend, Device};
use super::receive::{Inbox, Received};
use super::reply::Outbox;
use crate::poller::Interest;

/// Whether a connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Open,
    /// It has ended, for this reason.
    Ended(String),
}

/// One client.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    inbox: Inbox,
    outbox: Outbox,
}

impl Connection {
    /// Takes over an accepted socket.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
        }
    }

    /// Receives once, serves every whole message, and sends the replies.
    pub fn serve(&mut self, device: &mut Device, backend: &mut dyn Backend) -> State {
        if !self.outbox.is_empty() {
            // The client does not read its replies: it gets no more of them until it does.
            return self.flush();
        }
        match self.inbox.receive(&self.socket) {
            Ok(Received::Bytes) => {}
            Ok(Received::Nothing) => return self.flush(),
            Ok(Received::End) => return State::Ended("the client left".to_owned()),
            Err(error) => return State::Ended(format!("cannot receive: {error}")),
        }
        loop {
            match self.inbox.next_message() {
                Ok(Some(message)) => device.handle(message, backend, &mut self.outbox),
                Ok(None) => return self.flush(),
                Err(error) => return State::Ended(error.to_string()),
            }
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn flush(&mut self) -> State {
        while !self.outbox.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, self.outbox.bytes(), flags) {
                Ok(count) => self.outbox.sent(count),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return State::Ended(format!("cannot send: {error}")),
            }
        }
        State::Open
    }

    /// What to wait for before the next [`serve`](Self::serve).
    #[must_use]
    pub fn interest(&self) -> Interest {
        if self.outbox.is_empty() {
            Interest::Input
        } else {
            Interest::Output
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
