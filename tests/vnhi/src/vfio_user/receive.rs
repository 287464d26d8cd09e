// SPDX-License-Identifier: GPL-2.0-only

//! The receive buffer of a connection: bytes and file descriptors in, whole messages out.
//!
//! One `recvmsg` takes everything the client queued, usually many posted register writes. File descriptors need care: the kernel ends a `recvmsg` with the piece of
//! data that carried them, so they belong to the *last* message that begins in the bytes just received.
//!
//! # Invariants
//!
//! - `start <= end <= buffer.len()`, and a message begins at `start`.
//! - `buffer` has room for the longest message, so there is always progress.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use zerocopy::FromBytes;

use super::message::{Header, Unframeable, MAX_FDS, MAX_MESSAGE};

/// Room for one longest message and much more of what usually comes.
const CAPACITY: usize = 2 * MAX_MESSAGE;

/// A message as received, its payload not looked at yet.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// What follows the header.
    pub payload: &'a [u8],
    /// What came along.
    pub fds: Fds,
}

/// File descriptors that came with a message.
#[derive(Debug, Default)]
pub struct Fds {
    /// In the order of the sender.
    pub list: Vec<OwnedFd>,
    /// The sender sent more than fits; the rest is lost.
    pub truncated: bool,
}

/// What a receive call brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes, so perhaps messages.
    Bytes,
    /// Nothing for now.
    Nothing,
    /// The client closed the connection.
    End,
}

/// Bytes and file descriptors that were received and not handled yet.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// File descriptors, each group with the buffer offset at which its message begins.
    fds: VecDeque<(usize, Fds)>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            buffer: vec![0; CAPACITY],
            start: 0,
            end: 0,
            fds: VecDeque::new(),
        }
    }
}

impl Inbox {
    /// Takes what the socket has, with one system call.
    ///
    /// # Errors
    ///
    /// Those of `recvmsg`, but not `EAGAIN`; `EPROTO` when file descriptors came in the middle of a message.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<Received, Errno> {
        self.compact();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut room = [IoSliceMut::new(&mut self.buffer[self.end..])];
        let received = match recvmsg(socket, &mut room, &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        let mut fds = Fds {
            list: Vec::new(),
            truncated: received.flags.contains(ReturnFlags::CTRUNC),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.list.extend(rights);
            }
        }
        // The control buffer is aligned up, so one more may fit than was asked for.
        fds.truncated |= fds.list.len() > MAX_FDS;
        if received.bytes == 0 {
            return Ok(Received::End);
        }
        self.received(received.bytes, fds)?;
        Ok(Received::Bytes)
    }

    /// Notes that `count` bytes were appended, and that `fds` came with the last piece of them.
    fn received(&mut self, count: usize, fds: Fds) -> Result<(), Errno> {
        let before = self.end;
        self.end = (self.end + count).min(self.buffer.len());
        if fds.list.is_empty() && !fds.truncated {
            return Ok(());
        }
        match self.last_message_start() {
            Some(start) if start >= before => {
                self.fds.push_back((start, fds));
                Ok(())
            }
            _ => Err(Errno::PROTO),
        }
    }

    /// Offset at which the last message begins, whole or not.
    fn last_message_start(&self) -> Option<usize> {
        let mut last = None;
        let mut next = self.start;
        while next < self.end {
            last = Some(next);
            match Header::peek_size(&self.buffer[next..self.end]) {
                Ok(Some(size)) => next += size,
                _ => break,
            }
        }
        last
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be cut into messages any more.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, Unframeable> {
        let waiting = &self.buffer[self.start..self.end];
        let Some(size) = Header::peek_size(waiting)? else {
            return Ok(None);
        };
        let Some(message) = waiting.get(..size) else {
            return Ok(None);
        };
        let Ok((header, payload)) = Header::read_from_prefix(message) else {
            return Ok(None);
        };
        let fds = match self.fds.front() {
            Some((start, _)) if *start == self.start => self.fds.pop_front(),
            _ => None,
        };
        self.start += size;
        Ok(Some(Message {
            header,
            payload,
            fds: fds.map(|(_, fds)| fds).unwrap_or_default(),
        }))
    }

    /// Moves what is left to the front, so that there is room for a whole message behind it.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        for (start, _) in &mut self.fds {
            *start -= self.start;
        }
        self.end -= self.start;
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    use std::io::{IoSlice, Write};
    use std::os::unix::net::UnixStream;
    use zerocopy::IntoBytes;

    fn message(id: u16, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            id: id.into(),
            size: u32::try_from(16 + payload.len()).unwrap().into(),
            ..Header::default()
        };
        [header.as_bytes(), payload].concat()
    }

    fn send_with_fds(socket: &UnixStream, bytes: &[u8], count: usize) {
        let files: Vec<_> = (0..count)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
        let sent = sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::empty(),
        );
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// Receives until nothing comes any more: id, payload length and number of fds of each message.
    fn drain(inbox: &mut Inbox, socket: &UnixStream) -> Vec<(u16, usize, usize)> {
        let mut all = Vec::new();
        while inbox.receive(socket).unwrap() == Received::Bytes {
            while let Some(message) = inbox.next_message().unwrap() {
                let id = message.header.id.get();
                all.push((id, message.payload.len(), message.fds.list.len()));
            }
        }
        all
    }

    #[test]
    fn many_messages_come_out_of_one_receive() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut inbox = Inbox::default();
        for id in 0..100 {
            client.write_all(&message(id, &[0; 20])).unwrap();
        }
        assert_eq!(inbox.receive(&server), Ok(Received::Bytes));
        for id in 0..100 {
            let next = inbox.next_message().unwrap().unwrap();
            assert_eq!(next.header.id.get(), id);
        }
        assert!(inbox.next_message().unwrap().is_none());
        assert_eq!(inbox.receive(&server), Ok(Received::Nothing));
    }

    #[test]
    fn fds_stay_with_their_message() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&message(1, &[1; 8])).unwrap();
        client.write_all(&message(2, &[])).unwrap();
        send_with_fds(&client, &message(3, &[3; 32]), 1);
        client.write_all(&message(4, &[])).unwrap();
        send_with_fds(&client, &message(5, &[]), 16);
        send_with_fds(&client, &message(6, &[]), 2);
        let all = drain(&mut Inbox::default(), &server);
        let expected = [
            (1, 8, 0),
            (2, 0, 0),
            (3, 32, 1),
            (4, 0, 0),
            (5, 0, 16),
            (6, 0, 2),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn too_many_fds_are_noticed() {
        let (client, server) = UnixStream::pair().unwrap();
        send_with_fds(&client, &message(1, &[]), 40);
        let mut inbox = Inbox::default();
        assert_eq!(inbox.receive(&server), Ok(Received::Bytes));
        let fds = inbox.next_message().unwrap().unwrap().fds;
        assert!(fds.truncated);
        assert!(fds.list.len() < 40);
    }

    #[test]
    fn fds_inside_a_message_end_the_stream() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let bytes = message(1, &[0; 64]);
        let mut inbox = Inbox::default();
        client.write_all(&bytes[..30]).unwrap();
        assert_eq!(inbox.receive(&server), Ok(Received::Bytes));
        send_with_fds(&client, &bytes[30..], 1);
        assert_eq!(inbox.receive(&server), Err(Errno::PROTO));
    }

    #[test]
    fn the_end_is_seen() {
        let (client, server) = UnixStream::pair().unwrap();
        drop(client);
        assert_eq!(Inbox::default().receive(&server), Ok(Received::End));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(&[0xff; 64]).unwrap();
        let mut inbox = Inbox::default();
        assert_eq!(inbox.receive(&server), Ok(Received::Bytes));
        assert!(inbox.next_message().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However the stream is cut into pieces, the same messages come out.
        #[test]
        fn pieces_do_not_matter(lengths in prop::collection::vec(0usize..3000, 1..20), cuts in prop::collection::vec(1usize..4000, 1..40)) {
            let (mut client, server) = UnixStream::pair().unwrap();
            let mut inbox = Inbox::default();
            let mut stream = Vec::new();
            for (id, length) in (0u16..).zip(&lengths) {
                stream.extend(message(id, &vec![0xab; *length]));
            }
            let mut got = Vec::new();
            let mut rest = &stream[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                client.write_all(piece).unwrap();
                rest = later;
                got.extend(drain(&mut inbox, &server));
            }
            let expected: Vec<_> = (0u16..).zip(&lengths).map(|(id, length)| (id, *length, 0)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
