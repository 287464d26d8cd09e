// SPDX-License-Identifier: GPL-2.0-only

//! The control socket: one line of text in, one line out, for any number of clients at once. Never blocks.
//!
//! Lines and unread answers are bounded, so a client that floods or does not read costs only its own connection.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::poller::Interest;

/// Longest command line.
const MAX_LINE: usize = 4096;
/// Answers that may wait for a client that does not read them.
const MAX_UNSENT: usize = 1024 * 1024;

/// A client of the control socket.
#[derive(Debug)]
pub struct LineClient {
    socket: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    finished: bool,
}

impl LineClient {
    /// Takes over an accepted socket.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made non-blocking.
    pub fn new(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            received: Vec::new(),
            unsent: Vec::new(),
            finished: false,
        })
    }

    /// Receives once, answers every whole line with what `answer` makes of it, and sends the answers. Returns false when the client has to go.
    pub fn serve(&mut self, mut answer: impl FnMut(&str) -> String) -> bool {
        if self.unsent.is_empty() && !self.finished {
            match self.receive() {
                Ok(()) => {}
                Err(()) => return false,
            }
        }
        let mut start = 0;
        while let Some(length) = self.received[start..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let line = String::from_utf8_lossy(&self.received[start..start + length]);
            start += length + 1;
            if line.trim().is_empty() {
                continue;
            }
            let text = answer(line.trim());
            self.unsent.extend_from_slice(text.as_bytes());
            self.unsent.push(b'\n');
        }
        self.received.drain(..start);
        if self.received.len() > MAX_LINE || self.unsent.len() > MAX_UNSENT {
            return false;
        }
        self.flush()
    }

    /// What to wait for before the next [`serve`](Self::serve).
    #[must_use]
    pub fn interest(&self) -> Interest {
        if self.unsent.is_empty() {
            Interest::Input
        } else {
            Interest::Output
        }
    }

    fn receive(&mut self) -> Result<(), ()> {
        let mut piece = [0; MAX_LINE];
        match self.socket.read(&mut piece) {
            Ok(0) => {
                // `printf 'stats' | socat ...` closes its side without a line end: what is there counts as a line.
                self.finished = true;
                if !self.received.is_empty() {
                    self.received.push(b'\n');
                }
                Ok(())
            }
            Ok(count) => {
                self.received.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) if is_temporary(&error) => Ok(()),
            Err(_) => Err(()),
        }
    }

    /// Sends what the socket takes. Returns false when all is said, or cannot be said.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => {
                    self.unsent.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        !self.finished
    }
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl AsFd for LineClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, LineClient) {
        let (person, server) = UnixStream::pair().unwrap();
        person.set_nonblocking(true).unwrap();
        (person, LineClient::new(server).unwrap())
    }

    fn read(person: &mut UnixStream) -> String {
        let mut text = vec![0; 65536];
        let count = person.read(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..count]).into_owned()
    }

    #[test]
    fn each_line_gets_an_answer() {
        let (mut person, mut client) = pair();
        person.write_all(b"one\n\ntwo\r\nthr").unwrap();
        assert!(client.serve(|line| format!("ok {line}")));
        assert_eq!(read(&mut person), "ok one\nok two\n");
        person.write_all(b"ee\n").unwrap();
        assert!(client.serve(|line| format!("ok {line}")));
        assert_eq!(read(&mut person), "ok three\n");
    }

    #[test]
    fn a_last_line_needs_no_end() {
        let (mut person, mut client) = pair();
        person.write_all(b"stats").unwrap();
        person.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.serve(|_| unreachable!()));
        assert!(!client.serve(|line| format!("ok {line}")));
        assert_eq!(read(&mut person), "ok stats\n");
    }

    #[test]
    fn an_endless_line_ends_the_client() {
        let (mut person, mut client) = pair();
        person.write_all(&[b'x'; 8192]).unwrap();
        assert!(client.serve(|_| unreachable!()));
        assert!(!client.serve(|_| unreachable!()));
    }

    #[test]
    fn unread_answers_do_not_pile_up() {
        let (mut person, mut client) = pair();
        let long = "x".repeat(100_000);
        let mut served = 0;
        for _ in 0..100 {
            let _ = person.write_all(b"help\n");
            client.serve(|_| {
                served += 1;
                long.clone()
            });
        }
        assert_eq!(client.interest(), Interest::Output);
        assert!(served < 20, "{served}");
        let mut total = 0;
        for _ in 0..1000 {
            total += read(&mut person).len();
            assert!(client.serve(|_| String::new()));
        }
        assert!(total > served * 100_000);
    }

    #[test]
    fn bytes_that_are_no_text_are_answered_too() {
        let (mut person, mut client) = pair();
        person.write_all(b"\xff\xfe\n").unwrap();
        assert!(client.serve(|_| "error: what?".to_owned()));
        assert_eq!(read(&mut person), "error: what?\n");
    }
}
